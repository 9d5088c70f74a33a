"""Trains a prior (`fit`) and exports its generator (`export`); see docs/prior.md."""

import ggl_lightning  # noqa: F401, I001  (first: it repairs torchvision beside a CPU-only torch)

import sys

from ggl_lightning.cli import run_command
from ggl_lightning.priors.cli import main

if __name__ == "__main__":
    sys.exit(run_command(main))
