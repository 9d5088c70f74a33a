"""What is compared image by image: metrics, and whether the private image was identified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from ggl_lightning.audit.results.schema import (
    RANKS,
    RATES,
    Row,
    compared_metrics,
    is_done,
)
from ggl_lightning.audit.results.values import Image, image_of, mean, metric_value
from ggl_lightning.audit.statistics.result_index import why_missing
from ggl_lightning.metrics import PairedDifference, PairedRateDifference

Place: TypeAlias = tuple[Image, int, int]
"""Of which image a number is, under which seed, and among how many decoys, 0 where none matter."""


@dataclass(frozen=True)
class Side:
    """One side of comparisons.

    Attributes:
        name: What it is called.
        column: The column of cases that its numbers are read from.
        cases: The cases.
        values: The numbers of those that have one.
    """

    name: str
    column: str
    cases: list[Row]
    values: dict[Place, float]

    @property
    def why_none(self) -> str:
        """Why there are no numbers, where there are none."""
        return f"{self.name} has none: {why_missing(self.cases, self.column)}"


@dataclass(frozen=True)
class Compared:
    """A number of a case that is compared with another's of the same image.

    Attributes:
        name: What results of the comparison call it.
        column: The column of cases that it is read from, which says why it is missing.
        read: The number of a case; None if it has none.
        among: Among how many decoys it was had; 0 where none matter.
        statistic: What is computed of the pairs.
    """

    name: str
    column: str
    read: Callable[[Row], float | None]
    among: Callable[[Row], int]
    statistic: type[PairedDifference]

    def side(self, name: str, cases: list[Row]) -> Side:
        """The numbers of finished cases that have one, under a name for the reader."""
        values = {
            (image_of(row), row["seed"], self.among(row)): value
            for row in cases
            if is_done(row) and (value := self.read(row)) is not None
        }
        return Side(name, self.column, cases, values)


def all_compared() -> list[Compared]:
    """Everything that is compared: the metrics first, then top-1 by each of `RANKS`."""
    metrics = [
        Compared(
            metric.name,
            metric.name,
            partial(metric_value, name=metric.name),
            lambda row: 0,
            PairedDifference,
        )
        for metric in compared_metrics()
    ]
    rates = [
        Compared(
            name,
            column,
            partial(_named, column=column),
            lambda row: int(row["decoys"]),
            PairedRateDifference,
        )
        for name, column in zip(RATES, RANKS.values(), strict=True)
    ]
    return [*metrics, *rates]


def _named(row: Row, column: str) -> float | None:
    """Whether a private image is first among its decoys; of a batch, the share that is."""
    found = row.get(column)
    if found is None or not row.get("decoys"):
        return None
    ranks = found if isinstance(found, list) else [found]
    return mean(float(rank == 1) for rank in ranks)
