"""The updates of a population of candidates under a procedure."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.func import vmap

from ggl_lightning.clients.procedures.base import ClientProcedure
from ggl_lightning.clients.procedures.gradients import FunctionalGradients, Tensors
from ggl_lightning.clients.procedures.order import Order
from ggl_lightning.clients.procedures.pure_modules import with_pure_batch_norm
from ggl_lightning.clients.procedures.state import ClientState
from ggl_lightning.clients.procedures.update import ClientUpdate
from ggl_lightning.errors import check_positive
from ggl_lightning.memory import MEBIBYTE, footprint, is_out_of_memory, total_memory
from ggl_lightning.seeding import seeded

Way = Literal["vmapped", "one by one"]
"""How a population's updates are computed; both give the same numbers."""

_TOLERANCE = 1e-6
"""Relative difference, in float64, above which a vectorised update is taken for wrong: rounding
stays far below, anything else goes far beyond."""

_NOTHING = 1e-9
"""A tensor's norm, relative to the whole update's, below which it is only rounding."""

_ACTIVATION_COPIES = 1
"""Peak bytes of a step per byte that goes in and out of the innermost modules."""

_WEIGHT_COPIES = 6
"""Weights, their gradients, two memories of the optimiser, and two that are on their way."""

_CPU_MEMORY_MB = 1024
_SHARE_OF_DEVICE = 0.5


@dataclass(frozen=True, eq=False)
class PopulationUpdate:
    """The updates of ``C`` candidates.

    Attributes:
        update: As one candidate's, but tensors and buffers are ``(C, ...)``.
        way: How they were computed.
        reason: Why one by one; None if vmapped.
    """

    update: ClientUpdate
    way: Way
    reason: str | None


class PopulationUpdates:
    """Computes candidates' updates under a procedure, vectorised where the model allows.

    Under `torch.func.vmap` every candidate has weights, batch statistics and buffers of its own, so
    that candidates have nothing to do with each other. Before a first population of its kind, two
    candidates of random pixels are computed both ways in float64; if they differ, or the model
    cannot be vectorised (its control flow depends on values, say), all go one by one.

    Args:
        procedure: What the attacker believes that the client did.
        state: The client model with the weights and buffers to begin with.
        max_memory_mb: Bound on the memory for candidates that are computed together, in units of
            2^20 bytes, as estimated. None takes 1024 on the CPU and half of an accelerator's.
        vectorise: Whether to vectorise at all.

    Raises:
        UserError: If ``max_memory_mb`` is not positive.
    """

    def __init__(
        self,
        procedure: ClientProcedure,
        state: ClientState,
        max_memory_mb: float | None = None,
        vectorise: bool = True,
    ) -> None:
        if max_memory_mb is not None:
            check_positive("max_memory_mb", max_memory_mb)
        self._procedure = procedure
        self._state = state
        self._max_memory_mb = max_memory_mb
        self._reason = None if vectorise else "it was asked for"
        self._checked: set[tuple[torch.Size, tuple[int, ...], bool]] = set()
        self._unused: frozenset[str] = frozenset()
        self._activation_bytes: dict[int, int] = {}

    @property
    def way(self) -> Way:
        """How updates are computed, as far as it is known."""
        return "vmapped" if self._reason is None else "one by one"

    @property
    def reason(self) -> str | None:
        """Why one by one, as far as it is known; None if vmapped."""
        return self._reason

    def prepare(self, images: Tensor, order: Order) -> None:
        """Finds out how such candidates can be computed; a call does this by itself.

        Args:
            images: ``(C, N, 3, H, W)``, of which only shape and kind matter.
            order: The random choices.
        """
        sizes = tuple(len(step.indices) for step in order.steps)
        kind = (images.shape[1:], sizes, images.requires_grad)
        if self._reason is None and kind not in self._checked:
            self._reason = self._why_not(images, order)
            self._checked.add(kind)

    def bytes_per_candidate(self, images: Tensor, order: Order) -> int:
        """What a candidate is estimated to take; for arguments see `prepare`."""
        largest = max(len(step.indices) for step in order.steps)
        if largest not in self._activation_bytes:
            model = self._state.in_mode("eval")
            one = images[0, :1].detach()
            measured = footprint(model, lambda: self._state.logits(one)).total
            self._activation_bytes[largest] = measured * largest
        weights = sum(weight.nbytes for weight in self._state.weights.values())
        step = _ACTIVATION_COPIES * self._activation_bytes[largest] + _WEIGHT_COPIES * weights
        # Where slopes are needed, the graph of every step is kept.
        return step * (2 * len(order) if images.requires_grad else 1)

    def at_once(self, images: Tensor, order: Order) -> int:
        """How many candidates fit the memory bound together; for arguments see `prepare`."""
        return max(1, int(self._bound(images.device) // self.bytes_per_candidate(images, order)))

    def __call__(self, images: Tensor, labels: Tensor, order: Order) -> PopulationUpdate:
        """Computes the updates of a population.

        Args:
            images: The images of each candidate, ``(C, N, 3, H, W)`` in ``[-1, 1]``.
            labels: The labels all candidates assume, ``(N,)``.
            order: The random choices, the same for all candidates.

        Returns:
            Their updates; differentiable with respect to ``images`` if they require gradients.
        """
        self.prepare(images, order)
        if self._reason is None:
            parts = images.tensor_split(math.ceil(len(images) / self.at_once(images, order)))
            together = [
                self._together(self._procedure, self._state, part, labels, order) for part in parts
            ]
            update = _joined(together, torch.cat)
        else:
            alone = [self._procedure.compute(self._state, each, labels, order) for each in images]
            update = _joined(alone, torch.stack)
        return PopulationUpdate(update, self.way, self._reason)

    def _together(
        self,
        procedure: ClientProcedure,
        state: ClientState,
        images: Tensor,
        labels: Tensor,
        order: Order,
    ) -> ClientUpdate:
        model = with_pure_batch_norm(
            state.copy_in_mode(procedure.mode),
            track=procedure.send_buffers,
            slopes=images.requires_grad,
        )
        gradients = FunctionalGradients(
            model, state.fixed, procedure.loss_on(state.device), unused=self._unused
        )

        def train(candidate: Tensor) -> tuple[Tensors, Tensors]:
            tensors, buffers = procedure.simulate(gradients, state, candidate, labels, order)
            return tensors, buffers if procedure.send_buffers else {}

        with (
            seeded(order.seed),
            torch.set_grad_enabled(images.requires_grad),
            warnings.catch_warnings(),
        ):
            # Of torch, to its developers: an operation is vectorised by a loop within.
            warnings.filterwarnings("ignore", message="There is a performance drop")
            # All candidates drop the same units, as each would by itself with this seed.
            tensors, buffers = vmap(train, randomness="same")(images)
        return procedure.update(tensors, buffers, len(labels), len(order))

    def _why_not(self, images: Tensor, order: Order) -> str | None:
        """Why the population must be computed one by one; None if it need not be."""
        procedure, state = self._in_float64()
        differentiable = images.requires_grad
        pixels = torch.rand((2, *images.shape[1:]), generator=torch.Generator().manual_seed(0))
        probes = (2 * pixels - 1).to(images.device, torch.float64).requires_grad_(differentiable)
        with torch.no_grad():
            labels = self._state.logits(probes[0].to(images)).argmin(dim=1)
        gradients = procedure.autograd_gradients(state, differentiable)
        try:
            alone = [procedure.run(gradients, state, each, labels, order) for each in probes]
            theirs = _compared(_joined(alone, torch.stack), probes)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            return "it does not run in float64, so that it cannot be checked"
        if len(set(gradients.unused)) > 1:
            return "its steps do not use the same parameters"
        self._unused = gradients.unused[0]
        try:
            ours = _compared(self._together(procedure, state, probes, labels, order), probes)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            # What a user's model raises when it meets a vectorised tensor is not for us to say.
            if is_out_of_memory(error):
                raise
            return "it cannot be vectorised"
        scale = max(float(tensor.norm()) for tensor in theirs.values())
        for name, expected in theirs.items():
            allowed = _TOLERANCE * float(expected.norm()) + _NOTHING * scale
            if not float((ours[name] - expected).norm()) <= allowed:  # not a number is different
                return f"{name} differs when it is vectorised"
        return None

    def _in_float64(self) -> tuple[ClientProcedure, ClientState]:
        procedure = copy.copy(self._procedure)
        if procedure.loss is not None:
            procedure.loss = copy.deepcopy(procedure.loss).to(torch.float64)
        return procedure, self._state.to(torch.float64)

    def _bound(self, device: torch.device) -> float:
        if self._max_memory_mb is not None:
            return self._max_memory_mb * MEBIBYTE
        total = total_memory(device)
        return _CPU_MEMORY_MB * MEBIBYTE if total is None else _SHARE_OF_DEVICE * total


def _joined(
    updates: Sequence[ClientUpdate], join: Callable[[list[Tensor]], Tensor]
) -> ClientUpdate:
    """Updates of some candidates as one."""
    first = updates[0]
    if len(updates) == 1 and join is torch.cat:
        return first
    return replace(
        first,
        tensors={name: join([each.tensors[name] for each in updates]) for name in first.tensors},
        buffers={name: join([each.buffers[name] for each in updates]) for name in first.buffers},
    )


def _compared(update: ClientUpdate, images: Tensor) -> Tensors:
    """What must be the same both ways: the update and, if they are needed, its slopes."""
    tensors = {
        name: tensor
        for name, tensor in (update.tensors | update.buffers).items()
        if tensor.is_floating_point()
    }
    found = {name: tensor.detach() for name, tensor in tensors.items()}
    if images.requires_grad:
        generator = torch.Generator().manual_seed(1)
        total = images.sum() * 0
        for tensor in tensors.values():
            direction = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
            total = total + (direction.to(tensor.device) * tensor).sum()
        (found["the slope with respect to its images"],) = torch.autograd.grad(total, images)
    return found
