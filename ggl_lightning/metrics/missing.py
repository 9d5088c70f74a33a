"""How a statistic says that it cannot be computed."""

from __future__ import annotations


class MissingError(ValueError):
    """A number cannot be computed from what there is.

    Args:
        reason: Why, as half a sentence for tables and reports.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
