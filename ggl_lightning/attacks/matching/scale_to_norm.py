"""Candidates brought to one norm, where the scale of the received update says nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from ggl_lightning.clients import Update
from ggl_lightning.defenses import Adaptation
from ggl_lightning.defenses.clipping import update_norm


class ScaleToNorm(Adaptation):
    """Scales every candidate's update, up or down, to one norm; zeros stay zeros.

    All that is compared then is the direction.

    Args:
        norm: The norm.
    """

    only_scales = True

    def __init__(self, norm: float) -> None:
        self.norm = norm
        self.estimate = {}

    def __call__(self, update: Update) -> Update:
        """Returns the update at that norm."""
        factor = factor_to(update_norm(update), self.norm)
        return [tensor * factor.to(tensor.dtype) for tensor in update]


def factor_to(norms: Tensor, norm: float) -> Tensor:
    """What brings norms to ``norm``; 0 of a norm that is 0."""
    known = norms > 0
    return torch.where(known, norm / torch.where(known, norms, 1), 0)
