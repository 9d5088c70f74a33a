"""How a command ends that was asked to stop."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import SIGTERMException

from ggl_lightning.cli import INTERRUPTED_EXIT_CODE

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


def _stopped(exit_code: int, message: str | None) -> int:
    if message is not None:
        print(message, file=sys.stderr)
    return exit_code
