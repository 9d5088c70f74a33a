"""Numbers of results as statistics take them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TypeAlias

from ggl_lightning.audit.results.schema import METRICS, Row, column_of
from ggl_lightning.audit.results.schema.columns import NO_RECONSTRUCTION

Image: TypeAlias = tuple[str, int, int]
"""A private image, or a client's batch of them: record, first index and number.

The record is empty for private images of a split; the index is -1 for those of a record.
"""


def image_of(row: Row) -> Image:
    """Which private image, or batch of them, a case is about: the unit of all statistics.

    A case of a recorded update is about the images behind it, whether or not they are known.
    """
    record, index = row.get("record") or "", row["image_index"]
    return record, -1 if record or index is None else int(index), int(row.get("images") or 1)


def source_of(row: Row) -> str | int:
    """What tells a case's private images from others': the record's name, or the first index."""
    return row.get("record") or int(row["image_index"])


def source_title(row: Row) -> str:
    """The same for readers."""
    source = source_of(row)
    return f"image {source}" if isinstance(source, int) else source


def makes_images(row: Row) -> bool:
    """Whether a case's attack makes images at all; others only rank."""
    return NO_RECONSTRUCTION not in (row.get("missing_metrics") or {}).values()


def metric_value(row: Row, name: str) -> float | None:
    """A number of a case, never above its ceiling; None if missing or not finite.

    Args:
        row: The case's row.
        name: A column.
    """
    value = _uncapped(row, name)
    if value is None:
        return None
    ceiling = ceiling_of(name)
    if ceiling is not None:
        value = min(value, ceiling)
    return value if math.isfinite(value) else None


def is_capped(row: Row, name: str) -> bool:
    """Whether `metric_value` is less than what the number was."""
    value, ceiling = _uncapped(row, name), ceiling_of(name)
    return ceiling is not None and value is not None and value > ceiling


def ceiling_of(name: str) -> float | None:
    """Above which a column's values count as this; None if there is no such number."""
    column = column_of(name)
    return None if column is None else column.ceiling


def _uncapped(row: Row, name: str) -> float | None:
    value = row.get(name)
    if value is not None:
        return float(value)
    if row.get("mse") == 0 and name in METRICS and METRICS[name].ceiling is not None:
        return math.inf  # as tables write it that have no infinity
    return None


def image_means(rows: Iterable[Row], read: Callable[[Row], float | None]) -> dict[Image, float]:
    """One number per image, in their order: the mean over its cases, repetitions by other seeds.

    Args:
        rows: Cases.
        read: The number of a case; None leaves the case out.
    """
    values: dict[Image, list[float]] = {}
    for row in rows:
        value = read(row)
        if value is not None:
            values.setdefault(image_of(row), []).append(value)
    return {image: mean(values[image]) for image in sorted(values)}


def mean(values: Iterable[float]) -> float:
    """The mean of at least one number, the same in any order."""
    listed = list(values)
    return math.fsum(listed) / len(listed)
