"""The table an audit prints."""

from pathlib import Path

from ggl_lightning.audit.table import MOST_ROWS, format_table
from tests.audit.result_rows import case, failed


def _attack(image, **values):
    return case(image, psnr=20.0, psnr_random_mean=12.5, mse=0.04, ssim=0.5,
                label_correct=True, **values)  # fmt: skip


def test_attacks_that_are_done_are_listed_with_their_gain():
    rows = [_attack(3), _attack(4, role="null_noise"), failed(5)]
    heading, line, *_ = format_table(rows, Path("runs/one")).splitlines()
    listed = dict(zip(heading.split(), line.split(), strict=True))
    assert listed["image"] == "3"
    assert listed["gain"] == "+7.50"
    assert len(format_table(rows, Path("runs/one")).splitlines()) == 2 + 1 + 6


def test_a_long_table_is_cut_and_says_so():
    rows = [_attack(image) for image in range(MOST_ROWS + 23)]
    text = format_table(rows, Path("runs/one"))
    assert "and 23 more attacks, in results.csv" in text
    assert len(text.splitlines()) == 1 + MOST_ROWS + 1 + 1 + 6
    assert "more attacks" not in format_table(rows[:MOST_ROWS], Path("runs/one"))
