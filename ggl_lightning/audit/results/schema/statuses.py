"""Whether a case or training was completed."""

from __future__ import annotations

from enum import StrEnum

from ggl_lightning.audit.results.schema.column import Row


class Status(StrEnum):
    """What became of a case or training.

    * ``done``: it has a result.
    * ``failed``: it could not be completed; its ``error`` says why.
    """

    done = "done"
    failed = "failed"


def is_done(row: Row) -> bool:
    """Whether a case has a result; cases of runs without a status have."""
    return row.get("status", Status.done) == Status.done
