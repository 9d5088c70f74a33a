"""``python -m ggl_lightning.data.synthetic``: write synthetic faces in CelebA's layout."""

import sys

from ggl_lightning.cli import run_command
from ggl_lightning.data.synthetic.cli import main

if __name__ == "__main__":
    sys.exit(run_command(main))
