"""Trains a client model (`fit`) and exports it (`export`); see docs/clients.md."""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Ctrl-C while libraries load, which takes seconds, ends the process without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import sys

from ggl_lightning.cli import run_command
from ggl_lightning.clients.cli import main

if __name__ == "__main__":
    sys.exit(run_command(main))
