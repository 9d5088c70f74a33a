"""Candidates' updates of local SGD."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from ggl_lightning.attacks.memory import footprint, is_out_of_memory
from ggl_lightning.attacks.per_candidate.errors import CannotBatchError
from ggl_lightning.attacks.per_candidate.general_path import Gradients
from ggl_lightning.clients import LocalSGDUpdate, Update

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
        self._weights = {name: weight.detach() for name, weight in model.named_parameters()}
        self._checked: torch.Size | None = None
        self._activation_bytes = 0
        self.general: dict[str, str] = {}

    def check(self, shape: torch.Size) -> None:
        """Compares two candidates of random pixels with the rule itself, once for every shape.

        Args:
            shape: Shape of one candidate's images, ``(N, 3, H, W)``.

        Raises:
            CannotBatchError: If the model cannot be vectorised, or not with the same result.
        """
        if shape == self._checked:
            return
        pixels = torch.rand((2, *shape), generator=torch.Generator().manual_seed(0))
        images = (2 * pixels - 1).to(next(iter(self._weights.values())))
        with torch.no_grad():
            labels = self._model(images[0]).argmin(dim=1)
        self._activation_bytes = footprint(self._model, lambda: self._model(images[0])).total
        try:
            found = self.gradients(images, labels)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            if is_out_of_memory(error):
                raise
            raise CannotBatchError("its local training cannot be vectorised") from error
        for candidate, alone in enumerate(images):
            for ours, theirs in zip(found, self._rule(self._model, alone, labels), strict=True):
                if (ours[candidate] - theirs).norm() > _TOLERANCE * theirs.norm() + 1e-10:
                    raise CannotBatchError("its local training differs when vectorised")
        self._checked = shape

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
