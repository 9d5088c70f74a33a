"""Ranks that end at different times, or not at all."""

import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import yaml
from torch import distributed

from ggl_lightning.attacks.callbacks import SearchCallback
from ggl_lightning.audit.cli import main
from ggl_lightning.audit.run.patience import Patience
from ggl_lightning.cli import run_command
from ggl_lightning.errors import UserError
from tests.forks import PATIENCE, context


def _rank(rank, file, delay, dies, results):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        store=distributed.FileStore(file, 2),
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=1),
    )
    patience = Patience()
    if rank == 1:
        time.sleep(delay)
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
    started = time.monotonic()
    for wait in (patience.wait, distributed.barrier):
        try:
            wait()
        except (UserError, RuntimeError) as error:
            results.put((rank, type(error).__name__, str(error)))
            return
    if rank == 0:
        results.put((rank, None, time.monotonic() - started))


def _meet(tmp_path, delay, dies=False, wait=True):
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    arguments = (str(tmp_path / "store"), delay, dies, results)
    processes = [fork.Process(target=_rank, args=(r, *arguments)) for r in (0, 1)]
    for process in processes:
        process.start()
    found = results.get(timeout=PATIENCE)
    for process in processes:
        process.join(PATIENCE)
        assert process.exitcode is not None
    return found


def test_a_rank_waits_longer_than_the_process_groups_time(tmp_path):
    rank, what, seconds = _meet(tmp_path, delay=2.5)
    assert (rank, what) == (0, None)
    assert seconds > 1.5


def test_a_rank_does_not_wait_for_one_that_has_died(tmp_path):
    rank, what, error = _meet(tmp_path, delay=0.5, dies=True)
    assert (rank, what) == (0, "UserError")
    assert "has ended before its time" in error


def test_patience_in_one_process_is_not_needed():
    Patience().wait()


class Victim(SearchCallback):
    """Kills the process of one rank when its third case begins."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self._cases = 0

    def on_search_start(self, trainer, pl_module, loop):
        self._cases += 1
        if self._cases == 3 and trainer.global_rank == self.rank:
            os.kill(os.getpid(), signal.SIGKILL)


def _audit_rank(rank, port, arguments, log):
    """One rank of an audit, as torchrun or a batch system starts it."""
    with Path(log).open("a") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}
    os.environ |= {"LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    sys.exit(run_command(main, arguments))


def _free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _both_ranks(config, folder, *more):
    """Runs an audit on two ranks to its end; returns their exit codes and what they print."""
    arguments = ["--config", str(config), "--trainer.strategy=ddp", "--trainer.devices=2", *more]
    port = _free_port()
    logs = [folder / f"log{rank}" for rank in (0, 1)]
    ranks = [
        context().Process(target=_audit_rank, args=(rank, port, arguments, str(logs[rank])))
        for rank in (0, 1)
    ]
    for rank in ranks:
        rank.start()
    try:
        for rank in ranks:
            rank.join(PATIENCE)
        return [rank.exitcode for rank in ranks], [log.read_text() for log in logs]
    finally:
        for rank in ranks:
            rank.kill()


def test_a_refusal_ends_all_ranks_and_is_told_once(tiny_config, tmp_path):
    codes, logs = _both_ranks(tiny_config, tmp_path, "--trainer.precision=16-true")
    assert codes == [2, 2], logs
    assert [log.count("error: ") for log in logs] == [1, 0], logs
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("killed", [0, 1])
def test_a_rank_that_is_killed_costs_its_case_alone(tiny_config, audit, tmp_path, killed):
    config = yaml.safe_load(tiny_config.read_text())
    config["data"]["idx"] = "0-5"
    config["data"]["attacks"]["cma"]["init_args"]["budget"] = 3
    victim = {"class_path": "tests.audit.test_lost_ranks.Victim", "init_args": {"rank": killed}}
    config["trainer"] = {"accelerator": "cpu", "callbacks": [victim]}
    tiny_config.write_text(yaml.safe_dump(config))
    codes, logs = _both_ranks(tiny_config, tmp_path)
    assert codes[killed] == -signal.SIGKILL
    assert codes[1 - killed] == 2, logs[1 - killed]
    assert "Another process of the audit has ended before its time" in logs[1 - killed]
    folder = tmp_path / "runs" / "tiny"
    finished = {file: file.stat().st_mtime_ns for file in folder.glob("cases/*/result.json")}
    assert len(finished) == 2 + 6  # the other one ends its share
    assert all(json.loads(file.read_text())["status"] == "done" for file in finished)
    # One process does the rest.
    config["trainer"]["callbacks"] = []
    tiny_config.write_text(yaml.safe_dump(config))
    assert audit() == 0
    assert {file: file.stat().st_mtime_ns for file in finished} == finished
    rows = json.loads((folder / "summary.json").read_text())
    assert len({row["name"] for row in rows}) == len(rows) == 12
    assert {row["status"] for row in rows} == {"done"}
