"""Audits that are killed, again and again, and end as if they had not been."""

import csv
import json
import random
import signal
import sys

import pytest
import yaml
from pytorch_lightning.utilities.exceptions import SIGTERMException

from ggl_lightning.attacks.callbacks import SearchCallback
from ggl_lightning.attacks.callbacks.snapshots import SNAPSHOT_FILE
from ggl_lightning.cli import run_command
from ggl_lightning.interruption import run_interruptibly
from tests.audit.killing import Killer

KILLS = 50


@pytest.fixture
def grid(tiny_config):
    """Attacks and controls of one image; two trials of an evolution strategy that end with Adam."""
    config = yaml.safe_load(tiny_config.read_text())
    config["data"]["idx"] = [0]
    del config["data"]["controls"]
    attack = config["data"]["attacks"]["cma"]["init_args"]
    attack.update(budget=8, n_trials=2, refine_steps=3)
    attack["search"]["init_args"]["population"] = 8
    config["trainer"] = {
        "accelerator": "cpu",
        "callbacks": [
            {"class_path": "tests.audit.killing.Beacon", "init_args": {"after_rounds": 2}},
            {
                "class_path": "ggl_lightning.attacks.callbacks.SearchSnapshots",
                "init_args": {"every_seconds": 0},
            },
        ],
    }
    tiny_config.write_text(yaml.safe_dump(config))
    return tiny_config


def killer(config, name, *more):
    log = config.with_name(f"{name}.log")
    return Killer(["--config", str(config), "--exp_name", name, *more], log)


def without_seconds(row):
    return {name: value for name, value in row.items() if name != "seconds"}


def contents(run):
    """Everything in a run folder that must not depend on interruptions."""
    with (run / "results.csv").open() as file:
        table = [without_seconds(row) for row in csv.DictReader(file)]
    files = {}
    for path in sorted((run / "cases").rglob("*")):
        if path.name == "result.json":
            files[path.relative_to(run)] = without_seconds(json.loads(path.read_text()))
        elif path.is_file():
            files[path.relative_to(run)] = path.read_bytes()
    return {
        "table": table,
        "summary": [without_seconds(row) for row in json.loads((run / "summary.json").read_text())],
        "files": files,
        "top": sorted(path.name for path in run.iterdir()),
    }


def test_nothing_is_lost_or_done_twice_however_often_the_audit_is_killed(grid, tmp_path):
    code, before, during = killer(grid, "undisturbed").run()
    assert code == 0
    killed = killer(grid, "killed")
    moments = random.Random(0)
    while True:
        how = moments.choice([signal.SIGTERM, signal.SIGKILL])
        kills = killed.ends.total()
        if kills % 10 == 9:  # while it starts
            code = killed.kill(how, moments.uniform(0, before), searching=False)
        else:
            # At first so little that the search outlasts all these kills even on a machine that has
            # become faster, and no case ends without several of them; then more at once.
            share = 0.4 / KILLS if kills < KILLS else 0.3
            code = killed.kill(how, moments.uniform(0, share * during))
        if code is None:
            break
        assert code in {-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM}
    assert killed.ends.total() >= KILLS, killed.ends
    assert killed.ends[-signal.SIGKILL] > KILLS / 4
    assert killed.ends[128 + signal.SIGTERM] > KILLS / 4
    assert contents(tmp_path / "runs" / "killed") == contents(tmp_path / "runs" / "undisturbed")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_polite_interruption_keeps_the_case_whatever_the_interval(how, grid, tmp_path):
    config = yaml.safe_load(grid.read_text())
    del config["trainer"]["callbacks"][1]  # the default would save in half a minute
    grid.write_text(yaml.safe_dump(config))
    interrupted = killer(grid, "interrupted", "--budget", "100000")
    assert interrupted.kill(how, after=0.01) == 128 + how
    (case,) = (tmp_path / "runs" / "interrupted" / "cases").iterdir()
    assert [file.name for file in case.iterdir()] == [SNAPSHOT_FILE]
    assert "The same command goes on from here." in interrupted.log.read_text()
    assert "Traceback" not in interrupted.log.read_text()


def test_a_snapshot_of_another_configuration_is_not_used(grid, audit, tmp_path, caplog):
    interrupted = killer(grid, "interrupted", "--budget", "100000")
    assert interrupted.kill(signal.SIGTERM, after=0.01) == 128 + signal.SIGTERM
    assert audit("--exp_name", "interrupted", "--budget", "3") == 0
    assert "belongs to a case with another configuration" in caplog.text
    assert audit("--budget", "3") == 0
    runs = tmp_path / "runs"
    assert contents(runs / "interrupted")["files"] == contents(runs / "tiny")["files"]


class Interruption(SearchCallback):
    """Counts rounds, and is Ctrl-C once, before one of them."""

    rounds = 0
    due: int | None = None

    def on_round_start(self, trainer, pl_module, loop):
        if loop.round == Interruption.due:
            Interruption.due = None
            raise KeyboardInterrupt

    def on_round_end(self, trainer, pl_module, loop):
        Interruption.rounds += 1


@pytest.mark.parametrize("control", [None, "null_noise", "bound"])
def test_a_case_that_was_interrupted_does_not_repeat_its_rounds(tiny_config, audit, control):
    config = yaml.safe_load(tiny_config.read_text())
    config["data"]["controls"] = [] if control is None else [control]
    config["trainer"]["callbacks"] = [
        {"class_path": "ggl_lightning.attacks.callbacks.SearchSnapshots"},
        {"class_path": f"{__name__}.Interruption"},
    ]
    tiny_config.write_text(yaml.safe_dump(config))
    one_case = ("--idx", "0", "--defense", "none", "--budget", "9")
    if control is not None:  # the attack is done: it is the control that is interrupted
        assert audit(*one_case, "--data.controls=[]") == 0
    Interruption.due, Interruption.rounds = 7, 0
    assert audit(*one_case) == 130
    assert audit(*one_case) == 0
    assert Interruption.rounds == 9


def _lightning_after_ctrl_c():
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        sys.exit(1)


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (lambda: None, 0),
        (lambda: _raise(SIGTERMException()), 143),
        (lambda: _raise(KeyboardInterrupt()), 130),
        (_lightning_after_ctrl_c, 130),
    ],
)
def test_exit_codes_tell_who_stopped_the_run(end, code):
    assert run_interruptibly(end) == code


def test_other_ends_are_left_alone():
    with pytest.raises(SystemExit) as ended:
        run_interruptibly(lambda: sys.exit(3))
    assert ended.value.code == 3
    with pytest.raises(ZeroDivisionError):
        run_interruptibly(lambda: 1 / 0)


def test_ctrl_c_before_the_trainer_runs():
    assert run_command(lambda _: _raise(KeyboardInterrupt()), []) == 130


def _raise(exception):
    raise exception
