import pytest

from ggl_lightning.atomic_file import remove_unfinished, replacing


def _write_half_of(path):
    path.write_text("half of the sec")
    raise ZeroDivisionError


def test_a_file_appears_only_when_its_block_succeeds(tmp_path):
    path = tmp_path / "table.csv"
    with replacing(path) as unfinished:
        unfinished.write_text("first")
        assert not path.exists()
    assert path.read_text() == "first"
    with pytest.raises(ZeroDivisionError), replacing(path) as unfinished:
        _write_half_of(unfinished)
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_half_written_is_removed_and_nothing_else(tmp_path):
    others = {tmp_path / name for name in (".table.csv.tmp", ".hidden-1.tmp", "table.csv")}
    for other in others:
        other.touch()
    killed = replacing(tmp_path / "table.csv")
    killed.__enter__().touch()  # and never left
    assert set(tmp_path.iterdir()) > others
    remove_unfinished(tmp_path)
    assert set(tmp_path.iterdir()) == others
