"""Two processes share an audit's cases and leave the table of one process."""

import json
import signal
import time
from pathlib import Path

import pytest
import yaml

from ggl_lightning.attacks.callbacks import SearchCallback
from tests.forks import PATIENCE, Command

VARYING = {"seconds"}


def _run(config, *arguments, code=0, command="audit.py"):
    """Runs the audit command to the end of all its processes; what it says on stderr."""
    ended, _, errors = Command(command, "--config", str(config), *arguments).end()
    assert ended == code, errors
    return errors


def _rows(folder):
    rows = json.loads((folder / "summary.json").read_text())
    return [{k: v for k, v in row.items() if k not in VARYING} for row in rows]


DDP = ("--trainer.strategy=ddp", "--trainer.devices=2", "--trainer.accelerator=cpu")


def test_two_ranks_leave_what_one_process_leaves(tiny_config, tmp_path):
    config = yaml.safe_load(tiny_config.read_text())
    del config["data"]["controls"]
    config["data"]["idx"] = [0, 3, 5]
    switch = tmp_path / "switch"
    config["data"]["attacks"]["breaking"] = {
        "class_path": "ggl_lightning.attacks.GenerativeGradientLeakage",
        "init_args": {
            "search": {
                "class_path": "tests.audit.test_failures.RaisingSearch",
                "init_args": {"switch": str(switch)},
            }
        },
    }
    tiny_config.write_text(yaml.safe_dump(config, sort_keys=False))
    _run(tiny_config, "--budget=6", "--exp_name=one", code=3)
    errors = _run(tiny_config, "--budget=6", "--exp_name=two", *DDP, code=3)
    assert errors.count("21 failed; the same command tries them again") == 1
    one, two = tmp_path / "runs" / "one", tmp_path / "runs" / "two"
    assert _rows(one) == _rows(two)
    assert len(_rows(two)) == 24 + 21
    # A rerun on two ranks does those that failed, and a few that are missing, and no others.
    switch.touch()
    results = sorted(two.glob("cases/*/result.json"))
    for file in results[::5]:
        file.unlink()
    before = {file: file.stat().st_mtime_ns for file in results if file.exists()}
    _run(tiny_config, "--budget=6", "--exp_name=two", *DDP)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    again = {row["name"]: row for row in _rows(two)}
    assert {row["status"] for row in again.values()} == {"done"}
    assert len(again) == 24 + 21
    assert all(again[row["name"]] == row for row in _rows(one) if row["status"] == "done")
    # More ranks than cases, and started as installed: Lightning starts the second process alike.
    installed = tmp_path / "ggl-audit"
    installed.write_text("import sys\nfrom ggl_commands import audit\nsys.exit(audit())\n")
    del config["data"]["attacks"]["breaking"]
    tiny_config.write_text(yaml.safe_dump(config, sort_keys=False))
    _run(
        tiny_config,
        "--budget=6",
        "--exp_name=few",
        "--data.controls=[]",
        "--idx=0",
        "--defense=none",
        *DDP,
        command=str(installed),
    )
    assert len(_rows(tmp_path / "runs" / "few")) == 1


class Mark(SearchCallback):
    """Leaves a file for its rank once a search has run a round."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def on_round_end(self, trainer, pl_module, loop):
        (self._folder / f"round{loop.round}_of_rank{trainer.global_rank}").touch()


@pytest.mark.parametrize(
    ("how", "to_all", "code", "cases"),
    [
        (signal.SIGINT, True, 130, ["--idx=[0, 3]"]),
        # One rank has no case: it waits for the other.
        (signal.SIGTERM, False, 143, ["--idx=0"]),
        (signal.SIGTERM, True, 143, ["--idx=[0, 3]"]),
    ],
)
def test_two_ranks_are_interrupted_as_one(tiny_config, tmp_path, how, to_all, code, cases):
    config = yaml.safe_load(tiny_config.read_text())
    marks = tmp_path / "marks"
    marks.mkdir()
    mark = {"class_path": "tests.audit.test_ddp_audit.Mark", "init_args": {"folder": str(marks)}}
    config["trainer"]["callbacks"].append(mark)
    tiny_config.write_text(yaml.safe_dump(config, sort_keys=False))
    deadline = time.monotonic() + PATIENCE
    searching = 2 if "3" in cases[0] else 1
    endless = ("--budget=1000000", "--defense=none")
    command = Command("audit.py", "--config", str(tiny_config), *endless, *cases, *DDP)
    try:
        while len(list(marks.glob("round3_of_rank?"))) < searching:
            assert command.poll() is None, command.end()
            assert time.monotonic() < deadline, "the ranks do not come to their searches"
            time.sleep(0.1)
        command.send_signal(how, to_all)
        ended, _, errors = command.end()
    finally:
        command.kill()
    assert ended == code, errors
    assert "The same command goes on from here." in errors
    assert "Traceback" not in errors
    kept = list(tmp_path.glob("runs/tiny/cases/*/snapshot.safetensors"))
    # After Ctrl-C Lightning does not wait for other ranks than the first.
    assert len(kept) >= (1 if how is signal.SIGINT else searching)
