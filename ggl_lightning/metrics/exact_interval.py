"""Exact binomial intervals, by SciPy."""

from __future__ import annotations

import math

from scipy.stats import binomtest

from ggl_lightning.metrics.resampling import CONFIDENCE

_ROUNDING = 1e-6  # of sums of shares such as thirds


def exact_interval(
    successes: float, trials: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """The exact interval of a rate (Clopper and Pearson 1934).

    Args:
        successes: From 0 to ``trials``. If they are not whole, since trials succeeded in part, the
            interval reaches from the lower end of the whole number below them to the upper end of
            the one above.
        trials: How many there were, at least 1.
        confidence: Level of the interval.

    Returns:
        Lower and upper end.
    """
    below, above = math.floor(successes + _ROUNDING), math.ceil(successes - _ROUNDING)
    low, high = (
        binomtest(whole, trials).proportion_ci(confidence, method="exact")
        for whole in (below, above)
    )
    return float(low.low), float(high.high)
