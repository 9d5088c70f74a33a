"""Distances to the received update for any procedure and defense: one candidate at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ggl_lightning.attacks.matching.distance import AnyDistance, Measured, WholeDistance, as_one
from ggl_lightning.attacks.matching.simulation import Simulation
from ggl_lightning.clients import Update
from ggl_lightning.clients.procedures import ClientProcedure, Order, mean_over_orders
from ggl_lightning.defenses import Adaptation


class OneByOneDistances:
    """Computes every candidate's update in full; see `UpdateDistances` for arguments and results.

    The last resort: it needs nothing to be known of the model, the procedure or the adaptation.
    """

    description = "one by one"
    general: dict[str, str]

    def __init__(
        self,
        model: nn.Module,
        received: Update,
        procedure: ClientProcedure,
        adaptation: Adaptation | None,
        distance: AnyDistance,
        orders: Sequence[Order] | None = None,
        buffers: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._simulation = Simulation(model, procedure, orders, buffers)
        self._received = received
        self._adaptation = adaptation
        self._distance = distance
        self.general = {}

    def prepare(self, shape: torch.Size, differentiable: bool) -> None:
        """Nothing to find out."""

    def bytes_per_candidate(self, differentiable: bool) -> int:
        """None: it is always one candidate, however many are given."""
        return 0

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Distances ``(C, L)`` of candidates ``(C, N, 3, H, W)``."""
        return self.measured(images, labels).tensors

    def measured(self, images: Tensor, labels: Tensor) -> Measured:
        """The same with those of the batch statistics."""
        orders = self._simulation.orders(images.shape[1])

        def mean(one: Tensor, of_one: Tensor) -> Tensor:
            return mean_over_orders(lambda order: self._one(one, of_one, order), orders)

        # Labels of all candidates, or probabilities of their own.
        every = labels if labels.dim() == 3 else [labels] * len(images)
        rows = torch.stack([mean(*each) for each in zip(images, every, strict=True)])
        return Measured.split(rows, self._simulation.penalty is not None)

    def _one(self, images: Tensor, labels: Tensor, order: Order) -> Tensor:
        """Distances ``(L,)``, and that of the statistics behind them if buffers are compared."""
        simulation = self._simulation
        found = simulation.procedure.compute(simulation.state, images, labels, order)
        update = list(found.tensors.values())
        if self._adaptation is not None:
            update = self._adaptation(update)
        received = self._received
        if self._distance is WholeDistance.whole_cosine:
            update, received = [as_one(update)], [as_one(received)]
        pairs = zip(update, received, strict=True)
        distances = [self._distance(ours, theirs) for ours, theirs in pairs]
        if simulation.penalty is not None:
            distances.append(simulation.penalty(found.buffers, images.shape))
        return torch.stack(distances)
