"""Candidates' updates of local SGD."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from ggl_lightning.attacks.matching.candidate_gradients import Reduction, random_candidates
from ggl_lightning.attacks.matching.errors import CannotBatchError
from ggl_lightning.attacks.matching.general_path import Gradients
from ggl_lightning.clients import LocalSGDUpdate, Update, trainable_parameters
from ggl_lightning.memory import footprint, is_out_of_memory

_TOLERANCE = 1e-2
_ACTIVATION_BYTES = 4
_PARAMETER_BYTES = 4


class LocalSGDGradients:
    """Updates of local SGD for a population, vectorised over the candidates.

    Args:
        model: The client model, in eval mode.
        rule: The rule; see `LocalSGDUpdate` for what it computes.
    """

    def __init__(self, model: nn.Module, rule: LocalSGDUpdate) -> None:
        self._model = model
        self._rule = rule
        trainable = trainable_parameters(model)
        self._weights = {name: weight.detach() for name, weight in trainable.items()}
        self._checked: set[tuple[torch.Size, bool]] = set()
        self._activation_bytes = 0
        self.general: dict[str, str] = {}

    def check(self, shape: torch.Size, differentiable: bool) -> None:
        """Compares two candidates of random pixels with the rule itself, unless that was done.

        Args:
            shape: Shape of one candidate's images, ``(N, 3, H, W)``.
            differentiable: Whether gradients with respect to the images will be needed: then they
                are compared as well.

        Raises:
            CannotBatchError: If the model cannot be vectorised, or not with the same result.
        """
        if (shape, differentiable) in self._checked:
            return
        images, labels = random_candidates(self._model, shape)
        self._activation_bytes = footprint(self._model, lambda: self._model(images[0])).total
        try:
            ours = self._probe(self.gradients, images.clone(), labels, differentiable)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            if is_out_of_memory(error):
                raise
            raise CannotBatchError("its local training cannot be vectorised") from error
        theirs = self._probe(self._in_turn, images.clone(), labels, differentiable)
        for found, expected in zip(ours, theirs, strict=True):
            if (found - expected).norm() > _TOLERANCE * expected.norm():
                raise CannotBatchError("its local training differs when it is vectorised")
        self._checked |= {(shape, False), (shape, differentiable)}

    def _probe(
        self,
        gradients: Callable[[Tensor, Tensor], Update],
        images: Tensor,
        labels: Tensor,
        differentiable: bool,
    ) -> list[Tensor]:
        """The updates and, tensor by tensor, the gradients of their squares."""
        with torch.set_grad_enabled(differentiable):
            found = gradients(images.requires_grad_(differentiable), labels)
            slopes = [
                torch.autograd.grad(tensor.square().sum(), images, retain_graph=True)[0]
                for tensor in found
                if tensor.requires_grad  # not that of a parameter without effect
            ]
        return [*(tensor.detach() for tensor in found), *slopes]

    def _in_turn(self, images: Tensor, labels: Tensor) -> Update:
        updates = [self._rule(self._model, candidate, labels) for candidate in images]
        return [torch.stack(column) for column in zip(*updates, strict=True)]

    def bytes_per_candidate(self, in_full: bool, differentiable: bool) -> int:
        """As `CandidateGradients.bytes_per_candidate`; updates are always had in full."""
        parameters = sum(weight.nbytes for weight in self._weights.values())
        steps = self._rule.steps if differentiable else 1
        each = _ACTIVATION_BYTES * self._activation_bytes + _PARAMETER_BYTES * parameters
        return steps * each

    def gradients(self, images: Tensor, labels: Tensor) -> Update:
        """The candidates' updates in full: ``(C, *shape)`` per parameter tensor."""

        def loss(weights: Gradients, images: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(functional_call(self._model, weights, images), labels)

        def update(candidate: Tensor) -> Gradients:
            batches = self._rule.batches(candidate, labels)
            weights = self._weights
            total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
            for step in range(self._rule.steps):
                gradients = grad(loss)(weights, *batches[step % len(batches)])
                total = {name: total[name] + gradients[name] for name in total}
                weights = {
                    name: weights[name] - self._rule.learning_rate * gradients[name]
                    for name in weights
                }
            return total

        found = vmap(update)(images)
        return [found[name] for name in self._weights]

    def reduce(self, images: Tensor, labels: Tensor, reduction: Reduction) -> list[Tensor]:
        """As `CandidateGradients.reduce`."""
        updates = self.gradients(images, labels)
        return [reduction(tensor, index) for index, tensor in enumerate(updates)]
