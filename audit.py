"""Audits a federated-learning defense: ``python audit.py --config demo``.

``python audit.py report RUN_DIR`` builds the report of a finished or interrupted audit again;
``python audit.py check RUN_DIR --max_leakage 0.1`` says whether its worst case keeps to limits.
"""

import sys

import ggl_commands

if __name__ == "__main__":
    ggl_commands.end_quietly_while_loading()

from ggl_lightning.audit.command import main
from ggl_lightning.cli import run_command

if __name__ == "__main__":
    sys.exit(run_command(main))
