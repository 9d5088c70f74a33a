"""Intervals of benchmarks' means."""

from __future__ import annotations

from collections.abc import Sequence

import torch

_DRAWS = 2000


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95% bootstrap percentiles of a mean."""
    one = torch.tensor(values, dtype=torch.float64)
    draws = torch.randint(len(one), (_DRAWS, len(one)), generator=torch.Generator().manual_seed(0))
    low, high = one[draws].mean(dim=1).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    return round(low.item(), 2), round(high.item(), 2)
