"""Distances of a population whose procedure is simulated, vectorised over the candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ggl_lightning.attacks.matching.comparison import ReceivedTensor
from ggl_lightning.attacks.matching.distance import AnyDistance, Measured, WholeDistance, as_one
from ggl_lightning.attacks.matching.entry_distances import distances_of
from ggl_lightning.attacks.matching.errors import CannotBatchError
from ggl_lightning.attacks.matching.simulation import Simulation
from ggl_lightning.clients import LocalSGDUpdate, Update, UpdateRule
from ggl_lightning.clients.procedures import (
    ClientProcedure,
    Order,
    PopulationUpdates,
    mean_over_orders,
)
from ggl_lightning.defenses import Adaptation


class SimulatedDistances:
    """Evaluates a population by doing to each candidate what the client is believed to have done.

    For arguments and results see `UpdateDistances`, for how it is vectorised `PopulationUpdates`.

    Raises:
        CannotBatchError: If only the procedure itself knows what it computes.
    """

    description = "vmapped over candidates"
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
        if type(procedure) is LocalSGDUpdate and received[0].device.type != "cpu":
            procedure = procedure.training
        if isinstance(procedure, UpdateRule):
            raise CannotBatchError(f"the procedure is {type(procedure).__name__}")
        if type(procedure).compute is not ClientProcedure.compute:
            raise CannotBatchError(f"{type(procedure).__name__} computes updates in its own way")
        self._simulation = Simulation(model, procedure, orders, buffers)
        self._updates = PopulationUpdates(self._simulation.procedure, self._simulation.state)
        if distance is WholeDistance.whole_cosine:
            received = [as_one(received)]
        self._received = [ReceivedTensor(tensor) for tensor in received]
        self._adaptation = adaptation
        self._distance = distance
        self._examples: dict[bool, Tensor] = {}
        self.general = {}

    def prepare(self, shape: torch.Size, differentiable: bool) -> None:
        """Finds out whether such candidates can be vectorised.

        Args:
            shape: Shape of one candidate's images, ``(N, 3, H, W)``.
            differentiable: Whether gradients with respect to them will be needed.

        Raises:
            CannotBatchError: If they cannot.
        """
        example = self._received[0].tensor.new_zeros((1, *shape)).requires_grad_(differentiable)
        self._updates.prepare(example, self._simulation.orders(len(example[0]))[0])
        if self._updates.reason is not None:
            raise CannotBatchError(self._updates.reason)
        self._examples[differentiable] = example

    def bytes_per_candidate(self, differentiable: bool) -> int:
        """What a candidate is estimated to take."""
        example = self._examples[differentiable]
        order = self._simulation.orders(len(example[0]))[0]
        return self._updates.bytes_per_candidate(example, order)

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Distances ``(C, L)`` of candidates ``(C, N, 3, H, W)``."""
        return self.measured(images, labels).tensors

    def measured(self, images: Tensor, labels: Tensor) -> Measured:
        """The same with those of the batch statistics."""
        rows = mean_over_orders(
            lambda order: self._rows(images, labels, order), self._simulation.orders(len(labels))
        )
        return Measured.split(rows, self._simulation.penalty is not None)

    def _rows(self, images: Tensor, labels: Tensor, order: Order) -> Tensor:
        """Distances, and those of the statistics behind them if buffers are compared."""
        found = self._updates(images, labels, order).update
        updates = self._adapted(list(found.tensors.values()))
        if self._distance is WholeDistance.whole_cosine:
            updates = [as_one(updates, dim=1)]
        columns = [
            distances_of(ours, theirs, self._distance)
            for ours, theirs in zip(updates, self._received, strict=True)
        ]
        if self._simulation.penalty is not None:
            columns.append(self._simulation.penalty(found.buffers, images.shape[1:]))
        return torch.stack(columns, dim=1)

    def _adapted(self, updates: Update) -> Update:
        """Candidates' updates, ``(C, *shape)`` per tensor, each adapted by itself."""
        if self._adaptation is None:
            return updates
        adapted = [self._adaptation(list(one)) for one in zip(*updates, strict=True)]
        return [torch.stack(column) for column in zip(*adapted, strict=True)]
