"""Trains a prior (`fit`) and exports its generator (`export`); see docs/prior.md."""

# ruff: noqa: I001
import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Ctrl-C while libraries load, which takes seconds, ends the process without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import ggl_lightning  # noqa: F401  (first: it repairs torchvision beside a CPU-only torch)

import sys

from ggl_lightning.cli import run_command
from ggl_lightning.priors.cli import main

if __name__ == "__main__":
    sys.exit(run_command(main))
