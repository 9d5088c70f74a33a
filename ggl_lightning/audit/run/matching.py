"""Which reconstruction is of which private image."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def match_to_originals(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Finds the one-to-one assignment with the smallest total squared error.

    An update says nothing of the order of a batch's images, so a reconstruction must be matched
    before it is scored.

    Args:
        reconstructions: ``(N, 3, H, W)``.
        originals: ``(N, 3, H, W)``.

    Returns:
        Indices ``(N,)``: entry ``i`` is the reconstruction that belongs to original ``i``.
    """
    costs = torch.cdist(originals.flatten(1).double(), reconstructions.flatten(1).double()).square()
    _, assigned = linear_sum_assignment(costs.cpu().numpy())
    return torch.from_numpy(assigned)
