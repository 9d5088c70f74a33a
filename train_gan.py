"""Trains a prior (`fit`) and exports its generator (`export`); see docs/prior.md."""

import os
import signal
import sys

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
    # What is imported below takes seconds, in which Ctrl-C would end in a traceback.
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

from ggl_lightning.cli import run_command
from ggl_lightning.priors.cli import main

if __name__ == "__main__":
    sys.exit(run_command(main))
