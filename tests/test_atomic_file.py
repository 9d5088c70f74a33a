import pytest

from ggl_lightning.atomic_file import replacing


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
