"""Distances of a population to the received update from all entries of its updates."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ggl_lightning.attacks.matching.candidate_gradients import CandidateGradients
from ggl_lightning.attacks.matching.comparison import ReceivedTensor, compare
from ggl_lightning.attacks.matching.distance import (
    AnyDistance,
    Distance,
    Excess,
    WholeDistance,
    as_one,
)
from ggl_lightning.clients import Update
from ggl_lightning.defenses import Adaptation, TensorwiseAdaptation
from ggl_lightning.defenses.compose import AdaptInOrder


class EntryDistances:
    """Evaluates a population from the candidates' plain gradients in full.

    Any adaptation and any distance will do. The gradients come from one pass over the candidates.
    If each tensor is adapted by itself, only a few candidates' gradients of one tensor exist at a
    time; otherwise those of all tensors do. Adaptations are applied to one candidate after the
    other, on the device.

    Args:
        model: The client model, in eval mode.
        received: The received update.
        adaptation: Applied to every candidate's update before it is compared.
        distance: What is measured between two tensors.
    """

    description = "from all entries of their updates"

    def __init__(
        self,
        model: nn.Module,
        received: Update,
        adaptation: Adaptation | None,
        distance: AnyDistance,
    ) -> None:
        self._gradients = CandidateGradients(model, received)
        whole = distance is WholeDistance.whole_cosine
        self._received = [
            ReceivedTensor(tensor) for tensor in ([as_one(received)] if whole else received)
        ]
        self._adaptation = adaptation
        steps = None if whole else _tensorwise_steps(adaptation)
        self._tensorwise = steps is not None
        self._steps = steps or []
        self._distance = distance

    @property
    def general(self) -> dict[str, str]:
        """Why parameters take the general path, by name."""
        return self._gradients.general

    def prepare(self, shape: torch.Size, differentiable: bool) -> None:
        """See `CandidateGradients.check`."""
        self._gradients.check(shape, differentiable)

    def bytes_per_candidate(self, differentiable: bool) -> int:
        """What a candidate is estimated to take."""
        in_full = not self._tensorwise or differentiable
        return self._gradients.bytes_per_candidate(in_full, differentiable)

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Distances ``(C, L)`` of candidates ``(C, N, 3, H, W)``."""
        if self._tensorwise:
            return torch.stack(self._gradients.reduce(images, labels, self._adapted), dim=1)
        updates = self._gradients.gradients(images, labels)
        rows = []
        for candidate in range(len(images)):
            adapted = [gradients[candidate] for gradients in updates]
            if self._adaptation is not None:
                adapted = self._adaptation(adapted)
            if self._distance is WholeDistance.whole_cosine:
                adapted = [as_one(adapted)]
            pairs = [self._measure(tensor.unsqueeze(0), i) for i, tensor in enumerate(adapted)]
            rows.append(torch.stack(pairs, dim=1))
        return torch.cat(rows)

    def _adapted(self, gradients: Tensor, index: int) -> Tensor:
        """Distances ``(c,)`` of some candidates' gradients of one tensor, once adapted."""
        for step in self._steps:
            gradients = torch.stack([step.adapt_tensor(each, index) for each in gradients])
        return self._measure(gradients, index)

    def _measure(self, ours: Tensor, index: int) -> Tensor:
        return distances_of(ours, self._received[index], self._distance)


def distances_of(ours: Tensor, received: ReceivedTensor, distance: AnyDistance) -> Tensor:
    """Distances ``(c,)`` of tensors ``(c, *shape)``; a `Distance` itself takes one of them."""
    rows = ours.reshape(len(ours), -1)
    match distance:
        case Distance.cosine | WholeDistance.whole_cosine:
            return compare(rows, received).cosine().to(ours.dtype)
        case Excess.l2:
            return compare(rows, received).excess()
        case Distance.l1:
            return (rows - received.tensor.flatten()).abs().sum(dim=1)
        case Distance.l2:
            return (rows - received.tensor.flatten()).square().sum(dim=1)


def _tensorwise_steps(adaptation: Adaptation | None) -> list[TensorwiseAdaptation] | None:
    """What an adaptation does to each tensor by itself, in order; None if it needs them all."""
    if adaptation is None:
        return []
    if type(adaptation) is AdaptInOrder:
        steps = [_tensorwise_steps(member) for member in adaptation.adaptations]
        return None if None in steps else [each for some in steps for each in some or []]
    # A subclass may do something else with an update than with its tensors.
    if isinstance(adaptation, TensorwiseAdaptation) and (
        type(adaptation).__call__ is TensorwiseAdaptation.__call__
    ):
        return [adaptation]
    return None
