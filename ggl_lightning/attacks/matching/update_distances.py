"""How far the updates of a population of candidates are from the received update."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ggl_lightning.attacks.matching.distance import AnyDistance, Distance, Measured
from ggl_lightning.attacks.matching.entry_distances import EntryDistances
from ggl_lightning.attacks.matching.errors import CannotBatchError
from ggl_lightning.attacks.matching.micro_batching import MicroBatching
from ggl_lightning.attacks.matching.one_by_one import OneByOneDistances
from ggl_lightning.attacks.matching.population_distances import PopulationDistances
from ggl_lightning.attacks.matching.simulated_distances import SimulatedDistances
from ggl_lightning.clients import Update, trainable_parameters
from ggl_lightning.clients.procedures import ClientProcedure, Order
from ggl_lightning.clients.update import is_plain_gradient
from ggl_lightning.defenses import Adaptation
from ggl_lightning.errors import UserError

__all__ = ["Distance", "UpdateDistances"]


_Way = PopulationDistances | EntryDistances | SimulatedDistances | OneByOneDistances


class UpdateDistances:
    """Distances between candidates' updates and the received one, per parameter tensor.

    This is where a population is turned into distances, and the only part of the objective that
    knows how. Plain gradients in eval mode: in closed form where there is one, from all entries of
    the candidates' gradients where they are needed. Everything else simulates the procedure,
    vectorised over candidates where the model allows. One by one where nothing else works. All give
    the same numbers; which is used, and why, is logged at INFO, once a run.

    Args:
        model: The client model, in eval mode, whatever mode the procedure has it run in.
        received: The received update, of the kind that the procedure makes.
        procedure: What the attacker believes that the client did.
        adaptation: Applied to every candidate's update before it is compared.
        distance: What is measured between two tensors.
        evaluation: In which parts populations are evaluated.
        orders: Orders in which the client may have taken its images: the distance is the mean over
            them. None if all give the same update.
        buffers: Received buffers, if batch statistics are to be compared too.

    Raises:
        UserError: If the model is not in eval mode, or the update does not fit its parameters.
    """

    def __init__(
        self,
        model: nn.Module,
        received: Update,
        procedure: ClientProcedure,
        adaptation: Adaptation | None = None,
        distance: AnyDistance = Distance.l2,
        evaluation: MicroBatching | None = None,
        orders: Sequence[Order] | None = None,
        buffers: Mapping[str, Tensor] | None = None,
    ) -> None:
        if any(module.training for module in model.modules()):
            raise UserError(
                "The client model must be handed over in eval mode (model.eval()): in which mode "
                "its client trains is a setting of the procedure."
            )
        trainable = trainable_parameters(model).values()
        expected = [tuple(parameter.shape) for parameter in trainable]
        found = [tuple(tensor.shape) for tensor in received]
        if expected != found:
            raise UserError(
                f"The received update has {len(found)} tensors that do not match the client "
                f"model's {len(expected)} trainable parameters: it was computed with another model."
            )
        self.evaluation = MicroBatching() if evaluation is None else evaluation
        self._model_name = type(model).__name__
        believed = (model, received, procedure, adaptation, distance, orders, buffers)
        self._waiting: list[Callable[[], _Way]] = [
            lambda: SimulatedDistances(*believed),
            lambda: OneByOneDistances(*believed),
        ]
        reason: str | None = f"the procedure is {type(procedure).__name__}"
        if is_plain_gradient(procedure):
            plain = (model, received, adaptation, distance)
            self._waiting[:1] = [
                lambda: PopulationDistances(*plain),
                lambda: EntryDistances(*plain),
            ]
            reason = None
        self._way = self._next_way(reason)
        self._one_by_one = lambda: OneByOneDistances(*believed)
        self._prepared: set[tuple[torch.Size, bool]] = set()

    @property
    def way(self) -> str:
        """How candidates are evaluated: "in closed form", "one by one" ...

        A first call may find that it must be another.
        """
        return self._way.description

    @property
    def one_by_one(self) -> bool:
        """Whether candidates are evaluated one by one."""
        return isinstance(self._way, OneByOneDistances)

    @property
    def general_parameters(self) -> list[str]:
        """Names of the parameters whose gradients no layer rule gives, once it is known."""
        return sorted(self._way.general)

    def prepare(self, shape: torch.Size, differentiable: bool = False) -> None:
        """Finds out how candidates can be evaluated; every other method does this by itself.

        Args:
            shape: Shape of one candidate's images, ``(N, 3, H, W)``.
            differentiable: Whether gradients with respect to them will be needed.
        """
        while (shape, differentiable) not in self._prepared:
            try:
                self._way.prepare(shape, differentiable)
                self._prepared.add((shape, differentiable))
            except CannotBatchError as error:
                self._way = self._next_way(str(error))
                self._prepared.clear()
            else:
                self._announce_general()

    def bytes_per_candidate(self, shape: torch.Size, differentiable: bool) -> int:
        """What a candidate is estimated to take while its distances are computed.

        Args:
            shape: Shape of its images, ``(N, 3, H, W)``.
            differentiable: Whether with respect to them.
        """
        self.prepare(shape, differentiable)
        return self._way.bytes_per_candidate(differentiable)

    def together(self, images: Tensor, labels: Tensor) -> Tensor:
        """As a call, but of all candidates at once, whatever memory that takes."""
        return self.measured(images, labels).tensors

    def measured(self, images: Tensor, labels: Tensor) -> Measured:
        """The same with the distances of batch statistics, if there are buffers to compare.

        Instead of labels ``(N,)`` it takes probabilities ``(C, N, classes)``, other ones for every
        candidate; one by one, then.
        """
        if labels.dim() == 3 and not self.one_by_one:
            self._way, self._waiting = self._one_by_one(), []
            self._prepared.clear()
            self.evaluation.announce(
                f"Candidates of the client model {self._model_name} are evaluated "
                f"{self._way.description}, since labels are searched for, too."
            )
        self.prepare(images.shape[1:], images.requires_grad)
        way = self._way
        if isinstance(way, SimulatedDistances | OneByOneDistances):
            return way.measured(images, labels)
        return Measured(way(images, labels), None)

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Evaluates a population.

        Args:
            images: The images of each candidate, ``(C, N, 3, H, W)`` in ``[-1, 1]``, where ``N``
                is the size of the client's batch.
            labels: The labels all candidates assume, ``(N,)``.

        Returns:
            The distance of candidate ``c`` in parameter tensor ``l``: ``(C, L)``; differentiable
            with respect to ``images`` if they require gradients (then the parts that fit the memory
            bound one after the other are all kept for the backward pass).
        """
        needed = self.bytes_per_candidate(images.shape[1:], images.requires_grad)
        parts = self.evaluation.run(
            lambda part: self.together(part, labels), images, needed, images.device
        )
        return torch.cat(parts)

    def _next_way(self, reason: str | None = None) -> _Way:
        """The next way that is possible as far as one can know without images."""
        reasons = [] if reason is None else [reason]
        while True:
            build = self._waiting.pop(0)
            try:
                way = build()
            except CannotBatchError as error:
                reasons.append(str(error))
                continue
            if reasons:
                self.evaluation.announce(
                    f"Candidates of the client model {self._model_name} are evaluated "
                    f"{way.description}, since {reasons[-1]}."
                )
            return way

    def _announce_general(self) -> None:
        by_reason = defaultdict(list)
        for name, reason in self._way.general.items():
            by_reason[reason].append(name)
        if by_reason:
            parts = [f"{reason}: {', '.join(names)}" for reason, names in by_reason.items()]
            self.evaluation.announce(
                f"These parameters of the client model {self._model_name} take the general path "
                f"({'; '.join(parts)})."
            )


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
