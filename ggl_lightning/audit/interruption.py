"""How a command ends that was asked to stop."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

from pytorch_lightning.utilities.exceptions import SIGTERMException

TERMINATED_EXIT_CODE = 128 + signal.SIGTERM
INTERRUPTED_EXIT_CODE = 128 + signal.SIGINT


def run_interruptibly(run: Callable[[], object]) -> int:
    """Runs what a Trainer does and tells from its exit code whether it was stopped from outside.

    Args:
        run: Calls the Trainer.

    Returns:
        0 when it is done, 143 after SIGTERM, 130 after Ctrl-C: what shells expect.
    """
    try:
        run()
    except SIGTERMException:
        return _stopped(TERMINATED_EXIT_CODE)
    except KeyboardInterrupt:
        return _stopped(INTERRUPTED_EXIT_CODE)
    except SystemExit as ended:
        # Lightning catches Ctrl-C, tidies up and exits with 1.
        if isinstance(ended.__context__, KeyboardInterrupt):
            return _stopped(INTERRUPTED_EXIT_CODE)
        raise
    return 0


def _stopped(exit_code: int) -> int:
    print("Interrupted. The same command goes on from here.", file=sys.stderr)
    return exit_code
