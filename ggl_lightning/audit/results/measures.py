"""The numbers in results that statistics are made of, and which way each is better."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from ggl_lightning.metrics import CEILING, PUBLISHED_CEILING

Row: TypeAlias = dict[str, Any]
"""A case's result, as in its ``result.json`` or the tables."""

Image: TypeAlias = tuple[int, int]
"""A private image, or a client's batch of them: first index and number."""

HIGHER_IS_BETTER: dict[str, bool | None] = {
    "mse": False,
    "psnr": True,
    "psnr_published": True,
    "ssim": True,
    "lpips_vgg": False,
    "lpips_alex": False,
    "fmse": False,
    "mse_r": False,
    "rmse_r": False,
    "tv_reconstruction": None,
    "tv_private": None,
}
"""By metric: whether higher is better for the attacker; None where neither is leakage."""

PSNR_CEILING = {
    "psnr": CEILING,
    "psnr_published": PUBLISHED_CEILING,
    "psnr_random_mean": CEILING,
}
"""Above this a PSNR, in dB, counts as this: 58.92, for the published convention 52.90; `CEILING`
says why."""


def image_of(row: Row) -> Image:
    """Which private image, or batch of them, a case is about: the unit of all statistics."""
    return int(row["image_index"]), int(row.get("images") or 1)


def is_done(row: Row) -> bool:
    """Whether a case has a result; cases of runs without a status have."""
    return row.get("status", "done") == "done"


def metric_value(row: Row, metric: str) -> float | None:
    """A metric of a case, never above its ceiling; None if missing or not finite."""
    value = _uncapped(row, metric)
    if metric in PSNR_CEILING and value is not None:
        value = min(value, PSNR_CEILING[metric])
    return value if value is not None and math.isfinite(value) else None


def is_capped(row: Row, metric: str) -> bool:
    """Whether `metric_value` is less than what the metric was."""
    value = _uncapped(row, metric)
    return metric in PSNR_CEILING and value is not None and value > PSNR_CEILING[metric]


def _uncapped(row: Row, metric: str) -> float | None:
    value = row.get(metric)
    if value is None and metric in ("psnr", "psnr_published") and row.get("mse") == 0:
        return math.inf  # as tables write it that have no infinity
    return None if value is None else float(value)


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
