"""Runs cases of recorded updates, each at the state of its own client."""

from __future__ import annotations

from collections.abc import Callable

from ggl_lightning.attacks import Progress
from ggl_lightning.audit.plan.case import Case
from ggl_lightning.audit.plan.sources import RecordedUpdate
from ggl_lightning.audit.results.row import Outcome
from ggl_lightning.audit.run.case_runner import CaseRunner


class RecordedCaseRunner:
    """Runs cases like a `CaseRunner`, with one for each record. Only the last one is kept.

    Args:
        make: Makes what runs the cases of a record.
    """

    def __init__(self, make: Callable[[RecordedUpdate], CaseRunner]) -> None:
        self._make = make
        self._last: tuple[RecordedUpdate, CaseRunner] | None = None

    def run(self, case: Case, key: str, progress: Progress) -> Outcome:
        """Runs one case; see `CaseRunner.run`."""
        recorded = case.recorded
        assert recorded is not None
        if self._last is None or self._last[0] is not recorded:
            self._last = None  # before the next one is loaded
            self._last = recorded, self._make(recorded)
        return self._last[1].run(case, key, progress)
