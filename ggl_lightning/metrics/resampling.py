"""Bootstrap intervals over images, by SciPy, with everything that is fixed about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from ggl_lightning.metrics.missing import MissingError

CONFIDENCE = 0.95
"""Level of every interval."""

ONE_IMAGE = "one image has no spread to resample"
"""Why there is no interval then."""

LARGE = 2000
"""Above so many images the percentile method replaces BCa.

BCa's correction is of order 1/N, below the resampling's own noise there, and its jackknife costs
N^2.
"""

_SEED = 0
_MOST, _LEAST = 9999, 999
_DRAWS = 5_000_000  # per interval: bounds the time
_BATCH = 500_000  # draws at a time: bounds the memory to some 10 MB
_ROUNDING = 1e-12


def generator() -> np.random.Generator:
    """A fresh generator: the same images always get the same resamples."""
    return np.random.default_rng(_SEED)


def resamples(count: int) -> int:
    """How many resamples are drawn: 9999 of up to 500 images, fewer of more, but always 999."""
    return max(_LEAST, min(_MOST, _DRAWS // count))


def batch(count: int) -> int:
    """How many resamples of ``count`` images are held in memory at a time."""
    return max(1, _BATCH // count)


def negligible(deviations: np.ndarray, scale: np.ndarray) -> bool:
    """Whether deviations are those of rounding: the images agree and there is nothing to resample.

    Args:
        deviations: Of each image's number from what all of them share.
        scale: Numbers of the size that was computed with.
    """
    return bool(np.abs(deviations).max() <= _ROUNDING * np.abs(scale).max())


def bootstrap_interval(
    samples: tuple[np.ndarray, ...], statistic: Callable[..., Any]
) -> tuple[float, float]:
    """The 95% bootstrap interval of a statistic: BCa (Efron 1987), as SciPy has it.

    Args:
        samples: Numbers ``(N,)`` of the same images, in an order that does not depend on how they
            came together; images are resampled with all their numbers. They must not be such that
            every resample gives the same.
        statistic: Called with resamples ``(..., N)`` and ``axis=-1``. May raise `MissingError`.

    Returns:
        Lower and upper end.

    Raises:
        MissingError: If there is one image, or the statistic is undefined for a resample.
    """
    count = len(samples[0])
    if count == 1:
        raise MissingError(ONE_IMAGE)
    low, high = bootstrap(
        samples,
        statistic,
        n_resamples=resamples(count),
        batch=batch(count),
        vectorized=True,
        paired=True,
        axis=-1,
        confidence_level=CONFIDENCE,
        method="percentile" if count > LARGE else "BCa",
        rng=generator(),
    ).confidence_interval
    if not (np.isfinite(low) and np.isfinite(high)):
        raise MissingError("the resamples differ too little for an interval")
    return float(low), float(high)


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """The bootstrap interval of a mean; its two ends are the mean itself if all values are equal.

    Args:
        values: One per image, ``(N,)``, in an order that does not depend on how they came together.

    Raises:
        MissingError: If there is one image.
    """
    if len(values) == 1:
        raise MissingError(ONE_IMAGE)
    mean = float(values.mean())
    deviations = values - mean
    if negligible(deviations, values):
        return mean, mean
    spread = float(np.abs(deviations).max())  # products of deviations must not underflow
    low, high = bootstrap_interval((deviations / spread,), np.mean)
    return mean + spread * low, mean + spread * high
