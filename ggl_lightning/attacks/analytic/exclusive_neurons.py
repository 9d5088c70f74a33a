"""Units of a linear layer that saw one image of a batch alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_AGREEMENT = 1e-3
"""Root mean square difference of two rows' inputs, per entry, up to which they are of one image."""

_LEAST = 1e-6
"""Share of the largest bias gradient below which a row says nothing: it is mostly rounding."""

_EQUAL = 1e-2
"""Relative difference up to which a unit's bias gradient is the one that an image would cause."""

BiasGradient = Callable[[Tensor], Tensor]
"""From an input ``(inputs,)`` to what it alone would add to the bias gradient, under every label
that occurs: ``(labels, units)``."""


@dataclass(frozen=True)
class ExclusiveInputs:
    """What exclusively activated units gave away.

    Attributes:
        inputs: One input per image, ``(inputs,)`` each, the certain ones first.
        certain: How many of them are certain.
    """

    inputs: list[Tensor]
    certain: int


def exclusive_inputs(
    weight: Tensor, bias: Tensor, count: int, bias_gradient: BiasGradient
) -> ExclusiveInputs:
    """Finds inputs that single units give away.

    A unit's row of the weight gradient is ``sum_n d_n x_n`` and its entry of the bias gradient
    ``sum_n d_n``: their ratio is ``x_n`` if the unit's output gradient ``d`` is zero for all other
    images, and a mixture otherwise. Units of one image agree on it. So do, in models of two
    classes, units that fired for the same several images; hence an input is certain only if it
    would cause, alone, exactly what the bias gradient of its units is.

    Args:
        weight: The layer's weight gradient ``(units, inputs)``, float64.
        bias: Its bias gradient ``(units,)``, float64.
        count: Number of images.
        bias_gradient: What an input would cause.

    Returns:
        At most ``count`` inputs: certain ones, then those on which most units agree, at least two.
    """
    magnitudes = bias.abs()
    (kept,) = (magnitudes > _LEAST * magnitudes.max()).nonzero(as_tuple=True)
    certain: list[Tensor] = []
    agreed: list[Tensor] = []
    if not len(kept):
        return ExclusiveInputs([], 0)
    for units, found in _groups(weight[kept] / bias[kept].unsqueeze(1), magnitudes[kept]):
        expected = bias_gradient(found)[:, kept[units]]
        error = (expected - bias[kept[units]]).norm(dim=1)
        if bool((error < _EQUAL * bias[kept[units]].norm()).any()):
            certain.append(found)
        elif len(units) > 1:
            agreed.append(found)
        if len(certain) == count:
            break
    return ExclusiveInputs([*certain, *agreed][:count], len(certain))


def _groups(ratios: Tensor, weights: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Units whose ratios agree, largest groups first, with the mean of each by the weights."""
    alike = torch.cdist(ratios, ratios) / ratios.shape[1] ** 0.5 < _AGREEMENT
    left = torch.ones(len(ratios), dtype=torch.bool)
    groups = []
    while bool(left.any()):
        sizes = (alike & left).sum(dim=1) * left
        members = alike[int(sizes.argmax())] & left
        (units,) = members.nonzero(as_tuple=True)
        shares = weights[units] / weights[units].sum()
        groups.append((units, shares @ ratios[units]))
        left &= ~members
    return groups
