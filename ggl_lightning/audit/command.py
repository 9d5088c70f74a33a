"""The audit command: an audit, the report of one, or whether it keeps to limits."""

from __future__ import annotations

import ggl_lightning.audit.cli
import ggl_lightning.audit.limits.cli
import ggl_lightning.audit.report.cli


def main(args: list[str]) -> int:
    """Runs an audit; ``report`` as the first argument builds a report, ``check`` checks limits.

    Args:
        args: Command-line arguments, without the program's name.

    Returns:
        The exit code.

    Raises:
        UserError: On bad input.
    """
    if args[:1] == ["report"]:
        return ggl_lightning.audit.report.cli.main(args[1:])
    if args[:1] == ["check"]:
        return ggl_lightning.audit.limits.cli.main(args[1:])
    return ggl_lightning.audit.cli.main(args)
