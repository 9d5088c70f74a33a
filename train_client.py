"""Trains a client model (`fit`) and exports it (`export`); see docs/clients.md."""

import sys

import ggl_commands

if __name__ == "__main__":
    ggl_commands.end_quietly_while_loading()

from ggl_lightning.cli import run_command
from ggl_lightning.clients.cli import main

if __name__ == "__main__":
    sys.exit(run_command(main))
