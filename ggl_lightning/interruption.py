"""How a command ends that was asked to stop."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

import pytorch_lightning as pl
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher
from pytorch_lightning.utilities.exceptions import SIGTERMException

from ggl_lightning.cli import INTERRUPTED_EXIT_CODE

_SECONDS_FOR_OTHERS = 10.0
"""How long the first process waits: less than what schedulers give between SIGTERM and SIGKILL."""

TERMINATED_EXIT_CODE = 128 + signal.SIGTERM  # what shells expect


def same_command_goes_on() -> str:
    """What to say of a command that goes on where it was when it is given again."""
    return "Interrupted. The same command goes on from here."


def run_interruptibly(
    run: Callable[[], object], how_to_go_on: Callable[[], str | None] = same_command_goes_on
) -> int:
    """Runs what a Trainer does and tells from its exit code whether it was stopped from outside.

    Args:
        run: Calls the Trainer.
        how_to_go_on: Called after an interruption: one line for the user, or None to say nothing.

    Returns:
        0 when it is done, 143 after SIGTERM, 130 after Ctrl-C.
    """
    try:
        run()
    except SIGTERMException:
        return _stopped(TERMINATED_EXIT_CODE, how_to_go_on())
    except KeyboardInterrupt:
        return _stopped(INTERRUPTED_EXIT_CODE, how_to_go_on())
    except SystemExit as ended:
        # Lightning catches Ctrl-C, tidies up and exits with 1.
        if isinstance(ended.__context__, KeyboardInterrupt):
            return _stopped(INTERRUPTED_EXIT_CODE, how_to_go_on())
        raise
    return 0


def stop_each_by_itself(trainer: pl.Trainer) -> None:
    """Has SIGTERM reach every process of an audit, and stop each in its own time.

    Lightning's own handler has all processes meet, in whatever one of them is interrupted. Those of
    an audit are each somewhere else: some would wait for ever.

    Args:
        trainer: Under which the test has begun: its handler is replaced, until Lightning puts back
            the one from before.
    """
    if trainer.world_size == 1 or threading.current_thread() is not threading.main_thread():
        return
    connector, launcher = trainer._signal_connector, trainer.strategy.launcher

    def stop(signum: int, _frame: FrameType | None) -> None:
        if launcher is not None and not connector.received_sigterm:
            launcher.kill(signal.Signals(signum))
        connector.received_sigterm = True

    signal.signal(signal.SIGTERM, stop)


def wait_for_others(trainer: pl.Trainer) -> None:
    """Waits until the processes that this one has started have ended, each in its own time.

    Who supervises the first process takes its end for the end of all, and would kill the others
    while they still write what they have. One that does not end within seconds waits for this
    process itself, in a meeting that there will not be, and ends after it.

    Args:
        trainer: Whose processes these are; those that others have started are not waited for.
    """
    launcher = trainer.strategy.launcher
    if isinstance(launcher, _SubprocessScriptLauncher):
        deadline = time.monotonic() + _SECONDS_FOR_OTHERS
        for process in launcher.procs:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))


def _stopped(exit_code: int, message: str | None) -> int:
    if message is not None:
        print(message, file=sys.stderr)
    return exit_code
