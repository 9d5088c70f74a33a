"""How clearly one class stands out among all."""

from __future__ import annotations

import torch
from torch import Tensor


def margin(values: Tensor, label: int) -> float:
    """How far the lowest of the other values ``(K,)`` is above a class's, over their spread."""
    spread = float(values.max() - values.min())
    return 0.0 if spread == 0 else max(0.0, gap(values, label)) / spread


def gap(values: Tensor, label: int) -> float:
    """How far the lowest of the other values ``(K,)`` is above a class's; 0 without others."""
    others = torch.cat([values[:label], values[label + 1 :]])
    if not len(others):
        return 0.0
    return float(others.min() - values[label])


def first_direction(weight: Tensor) -> tuple[Tensor, float]:
    """The first singular vector of the classes ``(K,)``, and the second value over the first."""
    # Of the rows' inner products: there are far fewer of them than of features.
    squares, vectors = torch.linalg.eigh(weight @ weight.T)
    values = squares.clamp(min=0).sqrt()
    first = values[-1]
    second = float(values[-2] / first) if len(values) > 1 and first > 0 else 0.0
    return vectors[:, -1] * first, second
