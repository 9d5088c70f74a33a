"""The audit command: an audit, or the report of one."""

from __future__ import annotations

import ggl_lightning.audit.cli
import ggl_lightning.audit.report.cli


def main(args: list[str]) -> int:
    """Runs an audit, or builds a report if the first argument is ``report``.

    Args:
        args: Command-line arguments, without the program's name.

    Returns:
        The exit code.

    Raises:
        UserError: On bad input.
    """
    if args[:1] == ["report"]:
        return ggl_lightning.audit.report.cli.main(args[1:])
    return ggl_lightning.audit.cli.main(args)
