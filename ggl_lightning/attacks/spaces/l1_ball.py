"""Projection onto balls of the l1 norm."""

from __future__ import annotations

import torch
from torch import Tensor


def project_to_l1_ball(points: Tensor, radius: float) -> Tensor:
    """The nearest points, in the Euclidean distance, whose l1 norm is at most a radius.

    Entries shrink towards zero by one threshold, found by sorting (Duchi, Shalev-Shwartz, Singer
    and Chandra, ICML 2008, figure 1).

    Args:
        points: ``(M, n)``.
        radius: Positive.

    Returns:
        ``(M, n)``; points inside are returned as they are.
    """
    sizes = points.abs()
    outside = sizes.sum(dim=1, keepdim=True) > radius
    ordered = sizes.sort(dim=1, descending=True).values
    excess = ordered.cumsum(dim=1) - radius
    ranks = torch.arange(1, points.shape[1] + 1, device=points.device)
    # The entries that stay above zero are the largest ones, as many as this holds for.
    kept = (ordered * ranks > excess).sum(dim=1, keepdim=True).clamp(min=1)
    threshold = excess.gather(1, kept - 1) / kept
    shrunk = points.sign() * (sizes - threshold).clamp(min=0)
    return torch.where(outside, shrunk, points)
