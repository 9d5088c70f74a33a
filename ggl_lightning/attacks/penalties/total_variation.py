"""Total variation: images are smooth."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ggl_lightning.attacks.penalties.base import Penalty

if TYPE_CHECKING:
    from ggl_lightning.attacks.base import Target


class VariationNorm(Enum):
    """How differences of neighbouring pixels are summed up.

    * ``l1``: mean absolute difference in height plus that in width (Geiping et al. 2020, as their
      published code does it).
    * ``l2``: Euclidean norms of all differences downwards, to the right and along both diagonals,
      added up (Yin et al. 2020, DeepInversion, as their published code does it).
    """

    l1 = "l1"
    l2 = "l2"


class TotalVariation(Penalty):
    """Total variation (Rudin, Osher and Fatemi 1992) of a candidate's images.

    Args:
        weight: Its weight; images are in ``[-1, 1]``.
        norm: How differences are summed up.

    Raises:
        UserError: If ``weight`` is negative.
    """

    def __init__(self, weight: float, norm: VariationNorm = VariationNorm.l1) -> None:
        super().__init__(weight)
        self.norm = norm

    def problems(self, target: Target, population: int) -> list[str]:
        """See `Penalty.problems`: images of one pixel in a row or a column."""
        _, height, width = target.image_shape
        if min(height, width) > 1:
            return []
        return [f"TotalVariation needs neighbouring pixels, but images are {height} x {width}."]

    def __call__(self, images: Tensor, model: nn.Module, consensus: Tensor | None) -> Tensor:
        """See `Penalty.__call__`."""
        down = images[..., 1:, :] - images[..., :-1, :]
        right = images[..., :, 1:] - images[..., :, :-1]
        if self.norm is VariationNorm.l1:
            return down.abs().flatten(1).mean(dim=1) + right.abs().flatten(1).mean(dim=1)
        falling = images[..., 1:, 1:] - images[..., :-1, :-1]
        rising = images[..., :-1, 1:] - images[..., 1:, :-1]
        # Not `.square().sum().sqrt()`, whose gradient is infinite at zero.
        norms = [
            torch.linalg.vector_norm(each.flatten(1), dim=1)
            for each in (down, right, falling, rising)
        ]
        return torch.stack(norms).sum(dim=0)
