"""Audits a federated-learning defense: ``python audit.py --config configs/audit/demo.yaml``."""

import sys

from ggl_lightning.audit.cli import main
from ggl_lightning.cli import run_command

if __name__ == "__main__":
    sys.exit(run_command(main))
