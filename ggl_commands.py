"""Starts the installed commands: an audit, the trainings, and the writer of faces.

Not in the package, since importing that takes seconds, in which Ctrl-C would end in a traceback.
"""

from __future__ import annotations

import os
import signal


def end_quietly_while_loading() -> None:
    """Has Ctrl-C end the process without a traceback, until the command itself answers it."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))


def audit() -> int:
    """Runs ``ggl-audit``; returns the exit code."""
    end_quietly_while_loading()
    from ggl_lightning.audit.command import main
    from ggl_lightning.cli import run_command

    return run_command(main)


def train_gan() -> int:
    """Runs ``ggl-train-gan``; returns the exit code."""
    end_quietly_while_loading()
    from ggl_lightning.cli import run_command
    from ggl_lightning.priors.cli import main

    return run_command(main)


def train_client() -> int:
    """Runs ``ggl-train-client``; returns the exit code."""
    end_quietly_while_loading()
    from ggl_lightning.cli import run_command
    from ggl_lightning.clients.cli import main

    return run_command(main)


def faces() -> int:
    """Runs ``ggl-faces``; returns the exit code."""
    end_quietly_while_loading()
    from ggl_lightning.cli import run_command
    from ggl_lightning.data.synthetic.cli import main

    return run_command(main)
