"""Group consistency: descents from several starts should agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ggl_lightning.attacks.penalties.base import Penalty

if TYPE_CHECKING:
    from ggl_lightning.attacks.base import Target


class GroupConsistency(Penalty):
    """Euclidean distance of a candidate's images from their mean over the population.

    ``||x - E(x_g)||`` (Yin et al. 2021, GradInversion, arXiv 2104.07586, eq. 10), where the mean is
    taken as it is: images are not registered with one another first. It is held fixed in gradients.
    Of a candidate that is evaluated alone, as an answer is, the penalty is zero.

    Args:
        weight: Its weight; images are in ``[-1, 1]``.

    Raises:
        UserError: If ``weight`` is negative.
    """

    needs_consensus = True

    def problems(self, target: Target, population: int) -> list[str]:
        """See `Penalty.problems`: a population of one."""
        if population > 1:
            return []
        return [
            "GroupConsistency compares descents that run side by side, but the search has only one "
            "point at a time: set its restarts to 2 or more."
        ]

    def __call__(self, images: Tensor, model: nn.Module, consensus: Tensor | None) -> Tensor:
        """See `Penalty.__call__`."""
        if consensus is None:
            return images.new_zeros(len(images))
        return torch.linalg.vector_norm((images - consensus).flatten(1), dim=1)
