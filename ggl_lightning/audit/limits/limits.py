"""What an audit must not exceed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ggl_lightning.audit.results.schema import headline_metrics
from ggl_lightning.audit.statistics.enough import LEAST_IMAGES
from ggl_lightning.errors import UserError, check_choice
from ggl_lightning.problems import Problems


@dataclass(frozen=True)
class Limits:
    """What the strongest attack may reach at most.

    Attributes:
        leakage: Normalised leakage, ``(attack - null) / (bound - null)``: 0 is chance, 1 all that
            could be had. None sets no limit.
        identification: Share of private images that are named among their decoys, in ``[0, 1]``.
            None sets no limit.
        no_leak: Whether the verdict must be that no leak is shown.
        certain: Whether the upper ends of the 95% intervals must stay within the limits, and not
            the numbers alone.
        metric: By which leakage is measured; None for the verdict's.
        min_images: Private images that a number must rest on.

    Raises:
        UserError: If nothing is limited, or a limit is none.
    """

    leakage: float | None = None
    identification: float | None = None
    no_leak: bool = False
    certain: bool = False
    metric: str | None = None
    min_images: int = LEAST_IMAGES

    def __post_init__(self) -> None:
        problems = Problems()
        if self.leakage is None and self.identification is None and not self.no_leak:
            problems.add(
                "Nothing is limited: give --max_leakage, --max_identification or --no_leak."
            )
        if self.leakage is not None and not math.isfinite(self.leakage):
            problems.add(f"--max_leakage is {self.leakage:g}: give a finite number, such as 0.1.")
        if self.identification is not None and not 0 <= self.identification <= 1:
            problems.add(
                f"--max_identification is {self.identification:g}: give a share from 0 to 1."
            )
        if self.min_images < 1:
            problems.add(f"--min_images is {self.min_images}: give 1 or more.")
        metric = self.metric
        if metric is not None:
            names = [each.name for each in headline_metrics()]
            problems.of(lambda: check_choice("--metric", metric, names))
            if self.leakage is None:
                problems.add("--metric says what --max_leakage is of, which is not given.")
        if self.certain and self.leakage is None and self.identification is None:
            problems.add(
                "--certain says how --max_leakage and --max_identification are read, of which "
                "none is given."
            )
        if problems:
            raise UserError(*problems)
