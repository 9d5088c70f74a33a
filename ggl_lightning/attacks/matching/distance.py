"""What is measured between two tensors of two updates."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

import torch
from torch import Tensor


class Distance(Enum):
    """Distance between two tensors of two updates.

    * ``l2``: squared Euclidean distance ``||g - y||^2`` (Li et al. 2022, eq. 4).
    * ``l1``: sum of absolute differences.
    * ``cosine``: ``1 - <g, y> / (||g|| ||y||)``, between 0 and 2 (as Geiping et al. 2020, but per
      tensor); 0 between two zero tensors, 1 if only one of them is zero.
    """

    l2 = "l2"
    l1 = "l1"
    cosine = "cosine"

    def __call__(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """The distance, a scalar, differentiable with respect to ``ours``."""
        match self:
            case Distance.l2:
                return (ours - theirs).square().sum()
            case Distance.l1:
                return (ours - theirs).abs().sum()
            case Distance.cosine:
                return _cosine_distance(ours, theirs)


class Excess(Enum):
    """What orders candidates as `Distance.l2` does, without what they all share.

    * ``l2``: ``||g - y||^2 - ||y||^2 = ||g||^2 - 2 <g, y>``, in double precision. Of an update that
      is mostly noise ``||y||^2`` is so large that single precision drops the rest.
    """

    l2 = "l2"

    def __call__(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """The excess, a scalar in float64, differentiable with respect to ``ours``."""
        ours, theirs = ours.double(), theirs.double()
        return ours.square().sum() - 2 * (ours * theirs).sum()


class WholeDistance(Enum):
    """Distance between two updates as a whole, as one long vector each.

    * ``whole_cosine``: ``1 - <g, y> / (||g|| ||y||)`` (Geiping et al. 2020, eq. 4), as
      `Distance.cosine` has it of tensors.
    """

    whole_cosine = "whole_cosine"

    def __call__(self, ours: Tensor, theirs: Tensor) -> Tensor:
        """The distance of two vectors, a scalar, differentiable with respect to ``ours``."""
        return _cosine_distance(ours, theirs)


AnyDistance = Distance | Excess | WholeDistance
"""What can be measured."""


class Measured(NamedTuple):
    """Distances of a population of ``C`` candidates.

    Attributes:
        tensors: In each of ``L`` parameter tensors, ``(C, L)``; ``(C, 1)`` of a `WholeDistance`.
        statistics: Of the batch statistics that buffers give away, ``(C,)``; None if no buffers are
            compared.
    """

    tensors: Tensor
    statistics: Tensor | None

    @classmethod
    def split(cls, rows: Tensor, with_statistics: bool) -> Measured:
        """Takes rows ``(C, L)``, or ``(C, L + 1)`` with the statistics' distances behind, apart."""
        return cls(rows[:, :-1], rows[:, -1]) if with_statistics else cls(rows, None)


def as_one(tensors: Iterable[Tensor], dim: int = 0) -> Tensor:
    """The tensors of an update in one: ``(n,)``; of ``C`` updates ``(C, n)`` with ``dim`` 1."""
    return torch.cat([tensor.flatten(dim) for tensor in tensors], dim=dim)


def _cosine_distance(ours: Tensor, theirs: Tensor) -> Tensor:
    squares = ours.square().sum() * theirs.square().sum()
    if squares == 0:
        same = bool((ours == theirs).all())
        return 0 * ours.sum() + (0 if same else 1)
    return 1 - (ours * theirs).sum() * squares.rsqrt()
