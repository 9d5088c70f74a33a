"""What the command-line entries share: how a user's mistake ends."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence

from jsonargparse import set_parsing_settings

from ggl_lightning.errors import UserError

_TRACEBACK_FLAG = "--traceback"
_TRACEBACK_VARIABLE = "GGL_TRACEBACK"

USER_ERROR_EXIT_CODE = 2
INTERRUPTED_EXIT_CODE = 128 + signal.SIGINT  # what shells expect after Ctrl-C

_UNHELPFUL = (
    "\N{ELECTRIC LIGHT BULB} Tip:",  # Lightning recommending other packages
    "An SIGTERMException was raised",  # what the commands say of an interruption says more
)


def run_command(
    command: Callable[[list[str]], int | None], args: Sequence[str] | None = None
) -> int:
    """Runs a command and turns a user's mistake into one line and exit code 2.

    ``--traceback`` anywhere among the arguments, or the environment variable ``GGL_TRACEBACK=1``,
    shows the traceback of a `UserError` as well. Any other exception is a bug and always does.

    Args:
        command: Takes the arguments; returns an exit code, or None for 0.
        args: The arguments; those of the process (``sys.argv[1:]``) if None.

    Returns:
        The process's exit code; 130 after Ctrl-C.
    """
    arguments = list(sys.argv[1:] if args is None else args)
    show_traceback = _TRACEBACK_FLAG in arguments or os.environ.get(
        _TRACEBACK_VARIABLE, "0"
    ) not in {"", "0"}
    arguments = [argument for argument in arguments if argument != _TRACEBACK_FLAG]
    _hush_libraries()
    _print_anything()
    # Lightning lets configurations come from any address; they name the code that is run.
    set_parsing_settings(config_read_mode_fsspec_enabled=False)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return command(arguments) or 0
    except UserError as error:
        if show_traceback:
            raise
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR_EXIT_CODE
    except KeyboardInterrupt:
        return INTERRUPTED_EXIT_CODE


def _print_anything() -> None:
    """Lets no character stop a command that has done its work, in a terminal that lacks it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _hush_libraries() -> None:
    """Silences messages of libraries that a user of these commands can do nothing about."""
    for message in (
        ".*isinstance\\(treespec, LeafSpec\\)",
        "Could not import matplotlib.pyplot",
        ".*does not have many workers",
    ):
        warnings.filterwarnings("ignore", message=message)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(
        lambda record: not record.getMessage().startswith(_UNHELPFUL)
    )
