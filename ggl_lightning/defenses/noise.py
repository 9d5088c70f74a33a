"""Additive Gaussian noise."""

from __future__ import annotations

import torch
from torch import Tensor

from ggl_lightning.clients import Update
from ggl_lightning.defenses.base import ClientSide, Defense
from ggl_lightning.errors import check_non_negative


class Noise(Defense):
    """Adds independent ``N(0, std^2)`` to every entry of the update (Li et al. 2022, section 4.1).

    An adaptive attacker has nothing to undo: adding fresh noise to every candidate's update would
    only scramble their ranking.

    Args:
        std: Standard deviation, in the update's own units; 0 sends the update as it is.

    Raises:
        UserError: If ``std`` is negative or not finite.
    """

    def __init__(self, std: float = 0.01) -> None:
        check_non_negative("std of the noise defense", std)
        self.std = std

    def norm_bound(self, before: float | None) -> float | None:
        """None, unless there is no noise."""
        return before if self.std == 0 else None

    def noise_multiplier_after(self, before: float | None) -> float | None:
        """The standard deviation over the norm of what it is given, if that is bounded."""
        return None if self.std == 0 or not before else self.std / before

    def __call__(self, update: Update, client: ClientSide) -> Update:
        """Returns the update plus noise, which is drawn on the CPU: the same on every device."""
        return [tensor + self._draw(tensor, client.generator) for tensor in update]

    def _draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(like.shape, generator=generator, dtype=like.dtype)
        return self.std * noise.to(like.device)
