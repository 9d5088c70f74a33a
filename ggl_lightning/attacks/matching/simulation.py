"""What an attacker believes that the client did, ready to be done to candidates."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ggl_lightning.clients.procedures import (
    BatchStatistics,
    ClientProcedure,
    ClientState,
    Order,
    statistics_penalty,
)
from ggl_lightning.clients.procedures.statistics import read_statistics, values_per_image


class Simulation:
    """A believed procedure with the orders that are tried and the buffers that were received.

    Args:
        model: The client model, in eval mode, with the weights and buffers before training.
        procedure: What the attacker believes that the client did.
        orders: The orders that it tries; None if all give the same update.
        buffers: The received buffers that candidates are held against; empty for none.

    Attributes:
        procedure: The same; it keeps account of buffers only if they are compared.
        state: Where training begins.
        penalty: What compares buffers; None if none are compared.
    """

    def __init__(
        self,
        model: nn.Module,
        procedure: ClientProcedure,
        orders: Sequence[Order] | None = None,
        buffers: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.state = ClientState.of(model)
        self.penalty = StatisticsPenalty(self.state, procedure, buffers) if buffers else None
        if procedure.send_buffers != (self.penalty is not None):
            procedure = copy.copy(procedure)
            procedure.send_buffers = self.penalty is not None
        self.procedure = procedure
        self._orders = orders

    def orders(self, count: int) -> Sequence[Order]:
        """The orders to try for ``count`` images."""
        if self._orders is None:
            self._orders = [self.procedure.order(count, torch.Generator().manual_seed(0))]
        return self._orders


def telling_layers(model: nn.Module, buffers: Mapping[str, Tensor]) -> list[str]:
    """Names of the batch-norm layers whose received running statistics say something of a batch.

    Args:
        model: The client model.
        buffers: The received buffers.
    """
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm)
        and module.momentum != 0
        and (f"{name}.running_mean" if name else "running_mean") in buffers
    ]


class StatisticsPenalty:
    """How far batch statistics of candidates are from those that the received buffers give away.

    Args:
        state: Where training began.
        procedure: What the attacker believes; it runs in training mode.
        buffers: The received buffers.
    """

    def __init__(
        self, state: ClientState, procedure: ClientProcedure, buffers: Mapping[str, Tensor]
    ) -> None:
        self._state = state
        self._procedure = procedure
        self._buffers = buffers
        self._values: dict[str, int] = {}
        self._theirs: dict[str, BatchStatistics] = {}

    def __call__(self, buffers: Mapping[str, Tensor], shape: torch.Size) -> Tensor:
        """Compares candidates; see `statistics_penalty`.

        Args:
            buffers: Theirs after training, ``(C, ...)``, or one's.
            shape: Shape of one candidate's images, ``(N, 3, H, W)``.

        Returns:
            ``(C,)``, or a number.

        Raises:
            UserError: If the received buffers give nothing away, or have no layer in common.
        """
        count, channels, height, width = shape
        largest = max(self._procedure.batch_sizes(count))
        if not self._theirs:
            seen = values_per_image(self._state, (channels, height, width))
            telling = telling_layers(self._state.model, self._buffers)
            self._values = {name: seen[name] for name in telling if name in seen}
            self._theirs = read_statistics(self._state, self._buffers, self._values, largest)
        ours = read_statistics(self._state, buffers, self._values, largest)
        return statistics_penalty(ours, self._theirs)
