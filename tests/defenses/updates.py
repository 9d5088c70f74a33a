"""Updates to defend, and what a defense or its adaptation makes of them."""

import numpy as np
import torch

from ggl_lightning.defenses import Defense
from tests.tiny import client_side

AWKWARD = [
    [0.0, 0.0, 0.0, 0.0],
    [0.5],
    [0.0],
    [2.0, -2.0, 2.0, 2.0],
    [1.0, -1.0, 0.0, 3.0, 1.0, 0.0],
    [4.0, -3.0, 2.0, -1.0, 0.0],
]
"""Tensors with zeros, ties and single entries."""


def update_like(parameters, seed, scale=1.0, zeros=0.0, decimals=None, dtype=torch.float32):
    """A random update with a share of zeros and, if rounded to decimals, with ties."""
    rng = np.random.default_rng(seed)
    update = []
    for parameter in parameters:
        values = rng.standard_normal(parameter.shape)
        if decimals is not None:
            values = values.round(decimals)
        values = scale * values * (rng.random(parameter.shape) >= zeros)
        update.append(torch.tensor(values, dtype=dtype))
    return update


def copies(update):
    return [tensor.clone() for tensor in update]


def equal(first, second):
    return len(first) == len(second) and all(
        torch.equal(a, b) for a, b in zip(first, second, strict=True)
    )


def defend(defense: Defense, update, **client):
    """The defended update of a client with a tiny model."""
    return defense(update, client_side(**client))


def adapted(defense: Defense, received, update):
    """A candidate's update after the adaptation estimated from the received one."""
    return defense.adapt(received, client_side().classifier)(update)


def doubles(*tensors):
    return [torch.tensor(values, dtype=torch.float64) for values in tensors]
