"""A real disk that fills up, or becomes read-only, under an audit."""

import json
import logging
import resource
import shutil
import subprocess

import pytest
import yaml

from ggl_lightning.attacks.callbacks import SearchCallback
from ggl_lightning.attacks.callbacks.snapshots import SNAPSHOT_FILE
from ggl_lightning.audit.results.claim import CLAIM_FILE, release
from ggl_lightning.audit.results.run_folder import RunFolder

PAGE = resource.getpagesize()  # the smallest file on this disk has that size


def _mount(*options):
    return subprocess.run(["mount", *map(str, options)], capture_output=True, check=False)


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own; only an administrator can have one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command")
    if _mount("-t", "tmpfs", "-o", f"size={20 * PAGE}", "tmpfs", folder).returncode != 0:
        pytest.skip("mounting a disk is not permitted")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def run(disk, tiny_config, audit):
    """The run folder, on that disk; and the audit on it, of eight cases."""
    config = yaml.safe_load(tiny_config.read_text())
    config["model"]["out_dir"] = str(disk)
    config["data"]["idx"] = "0-3"
    config["data"]["attacks"]["cma"]["init_args"]["budget"] = 5
    tiny_config.write_text(yaml.safe_dump(config))
    return disk / "tiny", audit


def _finished(folder):
    """Everything of finished cases, with the time it was written."""
    return {
        file: (file.stat().st_mtime_ns, file.read_bytes())
        for result in folder.glob("cases/*/result.json")
        for file in result.parent.iterdir()
    }


def _half_written(folder):
    return [file for file in folder.rglob(".*") if file.name != CLAIM_FILE]


def _one_message(capsys, reason):
    error = capsys.readouterr().err
    told = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(told) == 1
    assert reason in told[0]
    assert "the same command does the rest" in told[0]
    return error


def _complete(folder, audit):
    """The same command does the rest, and leaves what is finished alone."""
    before = _finished(folder)
    assert audit() == 0
    after = _finished(folder)
    assert before.items() <= after.items()
    rows = json.loads((folder / "summary.json").read_text())
    assert [row["status"] for row in rows] == ["done"] * 8
    assert len(list(folder.glob("cases/*"))) == 8
    assert not list(folder.glob("cases/*/failure.json"))
    assert not _half_written(folder)
    assert (folder / "report.html").exists()


@pytest.mark.parametrize("tensorboard", [True, False])
def test_a_disk_that_fills_up_in_mid_run(run, disk, tiny_config, tensorboard, capsys):
    folder, audit = run
    if not tensorboard:
        config = yaml.safe_load(tiny_config.read_text())
        config["trainer"]["logger"] = False
        tiny_config.write_text(yaml.safe_dump(config))
    assert audit() == 2
    error = _one_message(capsys, "No space left on device")
    finished = list(folder.glob("cases/*/result.json"))
    assert 0 < len(finished) < 8
    assert str(folder) in error
    assert not _half_written(folder)
    assert _mount("-o", f"remount,size={1000 * PAGE}", disk).returncode == 0
    _complete(folder, audit)


def test_room_that_comes_back_in_mid_run_costs_the_cases_in_between_only(
    run, disk, capsys, monkeypatch
):
    folder, audit = run
    assert _mount("-o", f"remount,size={1000 * PAGE}", disk).returncode == 0
    write, ballast = RunFolder.write_case, disk / "ballast"

    def write_case(self, originals, outcome):
        name = outcome.result["name"]
        if name.startswith("image000001"):
            with pytest.raises(OSError, match="No space"):
                ballast.write_bytes(bytes(1000 * PAGE))
        else:
            ballast.unlink(missing_ok=True)
        write(self, originals, outcome)

    monkeypatch.setattr(RunFolder, "write_case", write_case)
    code = audit()
    error = capsys.readouterr().err
    assert len(list(folder.glob("cases/*/result.json"))) == 6
    # TensorBoard does not recover within a process; without it the exit code is that of failures.
    assert code in (2, 3)
    assert error.count("image000001_none_cma_seed0") == 1
    monkeypatch.undo()
    _complete(folder, audit)


def test_a_disk_that_becomes_read_only_in_mid_run(run, disk, capsys, monkeypatch):
    folder, audit = run
    assert _mount("-o", f"remount,size={1000 * PAGE}", disk).returncode == 0
    write = RunFolder.write_case

    def write_case(self, originals, outcome):
        if outcome.result["name"].startswith("image000002"):
            release(folder)  # a disk is not made read-only by hand while a file is open on it
            assert _mount("-o", "remount,ro", disk).returncode == 0
        write(self, originals, outcome)

    monkeypatch.setattr(RunFolder, "write_case", write_case)
    assert audit() == 2
    _one_message(capsys, "Read-only file system")
    assert len(list(folder.glob("cases/*/result.json"))) == 4
    monkeypatch.undo()
    assert _mount("-o", "remount,rw", disk).returncode == 0
    _complete(folder, audit)


def test_a_disk_that_is_full_from_the_start(run, disk, capsys):
    _, audit = run
    ballast = disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(21 * PAGE))
    assert audit() == 2
    (told,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    assert "has 0.0 MB left" in told
    assert "make room" in told
    assert list(disk.iterdir()) == [ballast]


class StopOnce(SearchCallback):
    """Ends the process as Ctrl-C does, once, in mid-case."""

    due = False

    def on_round_end(self, trainer, pl_module, loop):
        if StopOnce.due and loop.round == 3:
            StopOnce.due = False
            raise KeyboardInterrupt


@pytest.mark.parametrize("keep", [0, 500])
def test_a_truncated_snapshot_is_told_and_the_case_starts_afresh(
    tiny_config, audit, tmp_path, keep, caplog
):
    config = yaml.safe_load(tiny_config.read_text())
    config["trainer"]["callbacks"] = [
        {"class_path": "ggl_lightning.attacks.callbacks.SearchSnapshots"},
        {"class_path": f"{__name__}.StopOnce"},
    ]
    tiny_config.write_text(yaml.safe_dump(config))
    one = ("--idx", "0", "--defense", "none", "--budget", "5")
    StopOnce.due = True
    assert audit(*one) == 130
    (snapshot,) = (tmp_path / "runs").rglob(SNAPSHOT_FILE)
    snapshot.write_bytes(snapshot.read_bytes()[:keep])
    with caplog.at_level(logging.WARNING):
        assert audit(*one) == 0
    assert "starts afresh" in caplog.text
    assert audit(*one, "--exp_name", "whole") == 0
    ours, theirs = (
        (tmp_path / "runs" / name / "cases" / "image000000_none_cma_seed0" / "latent.npy")
        for name in ("tiny", "whole")
    )
    assert ours.read_bytes() == theirs.read_bytes()
    assert not snapshot.exists()


@pytest.mark.parametrize("name", ["original.png", "losses.csv"])
def test_other_files_of_a_case_that_were_damaged_since_do_not_end_the_audit(
    audit, tmp_path, name, caplog
):
    one = ("--idx", "0", "--budget", "2")
    assert audit(*one) == 0
    file = tmp_path / "runs" / "tiny" / "cases" / "image000000_none_cma_seed0" / name
    file.write_bytes(file.read_bytes()[:40])
    with caplog.at_level(logging.WARNING):
        assert audit(*one) == 0
    assert (f"{file} cannot be read" in caplog.text) == name.endswith(".png")
