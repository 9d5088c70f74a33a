"""How much of a received update images explain: what tells that they are right, without truth."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from ggl_lightning.attacks.base import Target
from ggl_lightning.attacks.matching.micro_batching import MicroBatching
from ggl_lightning.attacks.matching.update_distances import Distance, UpdateDistances
from ggl_lightning.attacks.received import Received
from ggl_lightning.clients.procedures import sample_orders
from ggl_lightning.seeding import torch_generator

_ORDERS = (0x0DE5, 1)
"""The stream of the orders that are simulated."""


def unexplained_shares(
    received: Received, target: Target, candidates: Tensor, labels: Tensor, orders: int = 1
) -> Tensor:
    """``||a(g) - y||^2 / ||y||^2`` of candidates' updates ``g``, over all entries.

    ``y`` is the received update, ``a`` what the attacker believes that the defense did, with its
    parameters estimated from ``y``. 0 of an image that would have caused just what was received, 1
    of one whose update is of no use.

    Args:
        received: What the server holds.
        target: What is attacked.
        candidates: ``(C, N, 3, H, W)`` in ``[-1, 1]``.
        labels: The labels to assume, ``(N,)``.
        orders: How many orders of the client's steps it takes the mean over, where it matters.

    Returns:
        ``(C,)``, float64, on the CPU; all 1 of an update of zeros.
    """
    update = received.update
    whole = sum(float(tensor.double().square().sum()) for tensor in update)
    if whole == 0:
        return torch.ones(len(candidates), dtype=torch.float64)
    procedure = received.procedure
    count = candidates.shape[1]
    drawn = sample_orders(procedure, target.model, count, orders, torch_generator(*_ORDERS))
    distances = UpdateDistances(
        copy.deepcopy(target.model),
        update,
        procedure,
        received.defense.adapt(update, target.classifier),
        Distance.l2,
        MicroBatching(),
        drawn,
    )
    with torch.no_grad():
        found = distances(candidates.to(target.device), labels.to(target.device))
    return found.double().sum(dim=1).cpu() / whole
