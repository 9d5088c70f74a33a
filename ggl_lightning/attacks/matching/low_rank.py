"""ReceivedTensor gradients of matrices whose rank is as low as the client's positions are few."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_OVERSAMPLING = 8
"""Random directions more than the expected rank; the range is missed with a chance of 1e-10."""

_ROUNDING = {torch.float32: 5e-7, torch.float64: 1.5e-14}
"""What may be discarded of a gradient, relative to its norm: a few times what rounding in sums over
a client's positions leaves (up to 1.3e-7 and 2.2e-15, measured)."""


@dataclass(frozen=True)
class LowRank:
    """A matrix ``left @ right``, in float64.

    Attributes:
        left: ``(p, r)``, with orthonormal columns.
        right: ``(r, d)``.
    """

    left: Tensor
    right: Tensor

    @property
    def rank(self) -> int:
        """``r``."""
        return self.left.shape[1]

    def to(self, dtype: torch.dtype) -> LowRank:
        """The same in another precision."""
        return LowRank(self.left.to(dtype), self.right.to(dtype))


def find_low_rank(matrix: Tensor, rank: int) -> LowRank | None:
    """Writes a matrix as a product of thin ones, if that discards no more than rounding.

    The gradient of a weight is ``B^T A``, a sum over as many positions as the client's images have
    in the layer: its rank is at most that. Noise added to it, entries set to zero or rounding to
    fewer bits undo this. Found by a randomised range finder with one step of subspace iteration
    (Halko, Martinsson and Tropp 2011, SIAM Review 53, algorithm 4.4); what is left is then computed
    entry by entry, so that nothing but the time depends on chance.

    Args:
        matrix: ``(p, d)``.
        rank: The rank to expect, at most.

    Returns:
        Factors whose product is within rounding of the matrix, in its own precision; None if there
        are none of that rank, or if they would not be thin.
    """
    if matrix.dtype not in _ROUNDING:
        return None
    exact = matrix.double()
    columns = rank + _OVERSAMPLING
    norm = float(torch.linalg.vector_norm(exact))
    if columns >= min(matrix.shape) or not 0 < norm < float("inf"):
        return None
    generator = torch.Generator().manual_seed(0)
    probes = torch.randn(exact.shape[1], columns, dtype=torch.float64, generator=generator)
    outputs, _ = torch.linalg.qr(exact @ probes.to(exact.device))
    inputs, _ = torch.linalg.qr(exact.mT @ outputs)
    left, values, right = torch.linalg.svd(exact @ inputs, full_matrices=False)
    allowed = _ROUNDING[matrix.dtype] * norm
    # The norms of what is left out if all values from each one on are.
    tails = values.square().flip(0).cumsum(0).flip(0).sqrt()
    needed = max(1, int((tails > allowed / 2).sum()))
    if needed > rank:
        return None
    found = LowRank(left[:, :needed], (values[:needed, None] * right[:needed]) @ inputs.mT)
    rest = torch.linalg.vector_norm(exact - found.left @ found.right)
    return found if float(rest) <= allowed else None
