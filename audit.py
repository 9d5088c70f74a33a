"""Audits a federated-learning defense: ``python audit.py --config configs/audit/demo.yaml``.

``python audit.py report RUN_DIR`` builds the report of a finished or interrupted audit again.
"""

import os
import signal
import sys

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
    # What is imported below takes seconds, in which Ctrl-C would end in a traceback.
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

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
