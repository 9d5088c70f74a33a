"""Audits a federated-learning defense: ``python audit.py --config configs/audit/demo.yaml``.

``python audit.py report RUN_DIR`` builds the report of a finished or interrupted audit again.
"""

import sys

import ggl_lightning.audit.cli
import ggl_lightning.audit.report.cli
from ggl_lightning.cli import run_command


def main(args: list[str]) -> int | None:
    """Runs an audit, or builds a report if the first argument is ``report``."""
    if args[:1] == ["report"]:
        return ggl_lightning.audit.report.cli.main(args[1:])
    return ggl_lightning.audit.cli.main(args)


if __name__ == "__main__":
    sys.exit(run_command(main))
