"""Trains a prior (`fit`) and exports its generator (`export`); see docs/prior.md."""

import sys

import ggl_commands

if __name__ == "__main__":
    ggl_commands.end_quietly_while_loading()

from ggl_lightning.cli import run_command
from ggl_lightning.priors.cli import main

if __name__ == "__main__":
    sys.exit(run_command(main))
