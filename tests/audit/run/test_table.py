"""The table an audit prints."""

import pytest

from ggl_lightning.audit.run.table import MOST_ROWS, format_table
from tests.audit.result_rows import case, failed


def _attack(image, **values):
    return case(image, psnr=20.0, psnr_random_mean=12.5, mse=0.04, ssim=0.5,
                label_correct=True, **values)  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """A run folder with everything but TensorBoard's files, as without a logger."""
    for name in ("report.html", "summary.png", "results.csv", "statistics.json"):
        (tmp_path / name).touch()
    (tmp_path / "cases").mkdir()
    return tmp_path


def test_attacks_that_are_done_are_listed_with_their_gain(folder):
    rows = [_attack(3), _attack(4, role="null_noise"), failed(5)]
    heading, line, *_ = format_table(rows, folder).splitlines()
    listed = dict(zip(heading.split(), line.split(), strict=True))
    assert listed["image"] == "3"
    assert listed["gain"] == "+7.50"
    text = format_table(rows, folder)
    assert len(text.splitlines()) == 2 + 1 + 5
    assert str(folder / "report.html") in text
    assert "tensorboard" not in text
    (folder / "tensorboard").mkdir()
    assert str(folder / "tensorboard") in format_table(rows, folder)


def test_a_long_table_is_cut_and_says_so(folder):
    rows = [_attack(image) for image in range(MOST_ROWS + 23)]
    text = format_table(rows, folder)
    assert "and 23 more attacks, in results.csv" in text
    assert len(text.splitlines()) == 1 + MOST_ROWS + 1 + 1 + 5
    assert "more attacks" not in format_table(rows[:MOST_ROWS], folder)
