"""Runs the audit command in processes of its own, and ends them where it hurts."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import torch

from ggl_lightning.attacks.callbacks import SearchCallback
from ggl_lightning.audit.cli import main
from ggl_lightning.cli import run_command
from tests.forks import context

_PATIENCE = 120  # seconds until a process that does not end is taken for stuck

_parent: Connection | None = None


class Beacon(SearchCallback):
    """Tells the parent process when a search begins its first round, or one after others."""

    def __init__(self, after_rounds: int = 0) -> None:
        self.after_rounds = after_rounds

    def on_round_start(self, trainer, pl_module, loop):
        global _parent
        if _parent is not None and loop.round >= self.after_rounds:
            _parent.send("searching")
            _parent = None


def _run(arguments: list[str], log: Path, parent: Connection) -> None:
    global _parent
    _parent = parent
    parent.send("started")
    torch.set_num_threads(1)
    with log.open("a") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    sys.exit(run_command(main, arguments))


@dataclass
class Killer:
    """Starts the audit command again and again.

    Args:
        arguments: The command's arguments.
        log: Where its output goes.
    """

    arguments: list[str]
    log: Path
    ends: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._context = context()

    def run(self) -> tuple[int, float, float]:
        """Runs the command undisturbed.

        Returns:
            The exit code, and the seconds before and after what the `Beacon` tells.
        """
        process, connection = self._start()
        started = time.monotonic()
        _until_search(connection)
        searching = time.monotonic()
        code = self._wait(process)
        return code, searching - started, time.monotonic() - searching

    def kill(self, how: signal.Signals, after: float, searching: bool = True) -> int | None:
        """Runs the command until a signal.

        Args:
            how: The signal.
            after: Seconds until it is sent.
            searching: Whether they count from what the `Beacon` tells instead of from the
                beginning of the process.

        Returns:
            The exit code, negative for a signal that nobody caught; None if the command came to its
            own end.
        """
        process, connection = self._start()
        if searching:
            _until_search(connection)
        process.join(after)
        if process.exitcode is not None:
            assert process.exitcode == 0, self.log.read_text()
            return None
        os.kill(process.pid, how)
        code = self._wait(process)
        if code == 0:  # it was about to end when SIGTERM came
            return None
        self.ends[code] += 1
        return code

    def _start(self) -> tuple[ForkServerProcess, Connection]:
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_run, args=(self.arguments, self.log, theirs))
        process.start()
        theirs.close()
        assert ours.recv() == "started"  # the fork server may have had to be started itself
        return process, ours

    def _wait(self, process: ForkServerProcess) -> int:
        process.join(_PATIENCE)
        if process.exitcode is None:
            process.kill()
            raise AssertionError(f"the command did not end:\n{self.log.read_text()}")
        return process.exitcode


def _until_search(connection: Connection) -> None:
    assert connection.poll(_PATIENCE), "the command does not come to its search"
    with contextlib.suppress(EOFError):  # it ended without any
        connection.recv()
