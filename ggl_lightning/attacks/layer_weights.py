"""Weights of the parameter tensors in the objective."""

from __future__ import annotations

import torch
from torch import Tensor

from ggl_lightning.errors import UserError

RESNET18_TENSORS = 62


def resnet18_layer_weights() -> Tensor:
    """The published weights for a ResNet-18, ``(62,)``.

    ``2^-i`` for tensors ``3i`` to ``3i + 2``, ``i = 0..19`` (a convolution and its batch-norm), and
    1 for the last two, the classifier's (Li et al. 2022, as their published code does it).
    """
    exponents = torch.arange(20).repeat_interleave(3)
    return torch.cat([0.5**exponents, torch.ones(2)])


def layer_weights(weights: list[float] | bool, tensors: int) -> Tensor | None:
    """Turns the setting ``use_weight`` into one weight per parameter tensor.

    Args:
        weights: False for no weights, True for `resnet18_layer_weights`, or a list.
        tensors: Number ``L`` of the client model's parameter tensors.

    Returns:
        Weights ``(L,)``, or None for all ones.

    Raises:
        UserError: If there is not one weight per tensor, or a weight is negative.
    """
    if weights is False:
        return None
    values = resnet18_layer_weights() if weights is True else torch.tensor(weights)
    if len(values) != tensors:
        which = "the published weights are for a ResNet-18 and" if weights is True else "the list"
        raise UserError(
            f"use_weight: {which} has {len(values)} weights, but the client model has {tensors} "
            "parameter tensors. Give a list with one weight per tensor, or false."
        )
    if not bool((values >= 0).all()):
        raise UserError(f"use_weight is {weights}: weights must not be negative.")
    return values
