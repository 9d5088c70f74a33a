"""How much noise a received tensor holds, by what cannot be of an image."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import torch
from torch import Tensor

_ROUNDING = 1e-5
"""Relative size of singular values that are float32's rounding."""

_GRID = 4001
"""Points at which a density is integrated."""


_LARGEST = 3
"""Tensors looked at: the largest tell nearly all there is to tell."""


def noise_level(tensors: Iterable[tuple[Tensor, int]]) -> float | None:
    """The standard deviation of noise in an update's weight gradients, per entry.

    The gradient of a layer that multiplies at ``T`` positions has rank ``T`` at most, so all but
    the ``T`` largest singular values of a ``(p, d)`` matrix are noise's. Their median is known of
    noise of one variance (Marchenko and Pastur 1967; Gavish and Donoho 2014, eq. 15). Where the
    signal does not stand out of the noise, the largest are noise's too, and without them the rest
    would look too quiet: only those above the upper edge of the noise's own spectrum are left out,
    which is found in turns with its level. Noise is taken to be the same in all tensors, since
    those with no more than ``T`` rows or columns tell nothing of their own.

    Args:
        tensors: Weights' gradients as received, ``(p, ...)``, each with ``T``, the most that the
            true gradient's rank can be.

    Returns:
        The mean over the largest such tensors, by their entries: 0 if the rest is rounding. None if
        no tensor tells.
    """
    total = entries = 0.0
    telling = [(tensor, rank) for tensor, rank in tensors if rank < min(tensor.flatten(1).shape)]
    for tensor, rank in sorted(telling, key=lambda each: -each[0].numel())[:_LARGEST]:
        matrix = tensor.detach().flatten(1).double()
        rows, columns = sorted(matrix.shape)
        gram = matrix @ matrix.T if len(matrix) == rows else matrix.T @ matrix
        squares = torch.linalg.eigvalsh(gram).clamp(min=0)
        median = float(squares[: rows - rank].quantile(0.5))
        if median > _ROUNDING**2 * float(squares[-1]):
            total += tensor.numel() * _variance(squares, columns, rank)
        entries += tensor.numel()
    return (total / entries) ** 0.5 if entries else None


def _variance(squares: Tensor, columns: int, rank: int) -> float:
    """Of noise per entry, from squared singular values in ascending order."""
    while True:
        rows, width = len(squares) - rank, columns - rank
        median = float(squares[:rows].quantile(0.5))
        variance = median / (width * _median(round(rows / width, 3)))
        edge = variance * (rows**0.5 + width**0.5) ** 2
        standing_out = int((squares > edge).sum())
        if standing_out >= rank:
            return variance
        rank = standing_out


@lru_cache(maxsize=64)
def _median(ratio: float) -> float:
    """Median of the Marchenko-Pastur law of unit variance, for rows over columns at most 1."""
    low, high = (1 - ratio**0.5) ** 2, (1 + ratio**0.5) ** 2
    # Cosines crowd the ends, where the density is steep.
    angles = torch.linspace(0, torch.pi, _GRID, dtype=torch.float64)
    x = (low + high) / 2 - (high - low) / 2 * angles.cos()
    density = ((high - x) * (x - low)).clamp(min=0).sqrt() / x.clamp(min=1e-12)
    mass = torch.cumulative_trapezoid(density, x)
    return float(x[1 + int((mass < mass[-1] / 2).sum())])
