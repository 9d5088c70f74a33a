"""Several penalties, added up."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ggl_lightning.attacks.penalties.base import Penalty


class WeightedPenalties:
    """The sum of penalties times their weights, for one client model.

    Args:
        penalties: The penalties.
        model: The client model, in eval mode; a copy is used.
    """

    def __init__(self, penalties: Sequence[Penalty], model: nn.Module) -> None:
        self._penalties = [each for each in penalties if each.weight > 0]
        self._model = copy.deepcopy(model).requires_grad_(False) if self._penalties else model

    @property
    def needs_consensus(self) -> bool:
        """Whether a candidate is compared with the others of its population."""
        return any(each.needs_consensus for each in self._penalties)

    def __call__(self, images: Tensor, consensus: Tensor | None) -> Tensor:
        """One value per candidate, ``(C,)``; arguments are `Penalty`'s."""
        if not self._penalties:
            return images.new_zeros(len(images))
        values = [each.weight * each(images, self._model, consensus) for each in self._penalties]
        return torch.stack(values).sum(dim=0)
