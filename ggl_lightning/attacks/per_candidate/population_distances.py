"""Distances of a population to the received update, in as few passes as memory allows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ggl_lightning.attacks.distance import Distance
from ggl_lightning.attacks.per_candidate.comparison import Comparison, Received, compare
from ggl_lightning.attacks.per_candidate.population_pass import CannotBatchError, PopulationPass
from ggl_lightning.attacks.per_candidate.scaling import Scaling, can_scale
from ggl_lightning.attacks.per_candidate.side_by_side import Evaluate, SideBySide
from ggl_lightning.clients import GradientUpdate, Update, UpdateRule
from ggl_lightning.defenses import Adaptation

_TOLERANCE = 1e-2
"""Relative difference between the two paths above which a model cannot be batched. Rounding stays
far below; images that influence each other, or a weight that is used twice, go far beyond."""

_BYTES_PER_CAUGHT = 2
"""Peak bytes of a pass per byte of its layers' inputs and outputs, at most: one layer's output is
often the next one's input, and a gradient is dropped once it has been compared."""


class PopulationDistances:
    """Evaluates a population by a `PopulationPass`; see `UpdateDistances` for the arguments.

    Args:
        model: The client model, in eval mode.
        received: The received update.
        rule: How a client's images become an update.
        adaptation: Applied to every candidate's update before it is compared.
        distance: What is measured between two tensors.
        max_memory_mb: Bound on the memory for activations, in units of 2^20 bytes.

    Raises:
        CannotBatchError: If one of them has no closed form, or a parameter has no rule; from a
            call, if the model turns out to couple the images.
    """

    def __init__(
        self,
        model: nn.Module,
        received: Update,
        rule: UpdateRule,
        adaptation: Adaptation | None,
        distance: Distance,
        max_memory_mb: float,
    ) -> None:
        if type(rule) is not GradientUpdate:
            raise CannotBatchError(f"the update rule is {type(rule).__name__}")
        if not can_scale(adaptation):
            raise CannotBatchError(f"the adaptation is {type(adaptation).__name__}")
        if distance is Distance.l1:
            raise CannotBatchError("the distance is l1")
        self._model = model
        self._received = received
        self._scaling = Scaling(adaptation)
        self._pass = PopulationPass(model, received, self._scaling.kept)
        self._side_by_side = SideBySide(
            self._evaluating(self._pass), lambda: self._evaluating(self._pass.twin())
        )
        self._distance = distance
        self._max_bytes = max_memory_mb * 2**20
        self._checked_candidates = 0

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Distances ``(C, L)`` of candidates ``(C, N, 3, H, W)``."""
        if self._checked_candidates < min(len(images), 2):
            self._check(images.detach()[:2], labels)
        parts = images.split(self._candidates_at_once())
        return torch.cat([self._side_by_side(part, labels) for part in parts])

    def _evaluating(self, population_pass: PopulationPass) -> Evaluate:
        return lambda images, labels: self._distances(population_pass(images, labels))

    def _candidates_at_once(self) -> int:
        caught = self._pass.caught_bytes_per_candidate
        return max(1, int(self._max_bytes // (_BYTES_PER_CAUGHT * caught)))

    def _distances(self, comparisons: list[Comparison]) -> Tensor:
        if self._distance is Distance.cosine:  # which no scaling changes
            found = torch.stack([each.cosine() for each in comparisons], dim=1)
        else:
            factors = self._scaling.factors(comparisons)
            alphas = torch.stack([each.alpha for each in comparisons], dim=1)
            residuals = torch.stack([each.residual for each in comparisons], dim=1)
            squares = torch.stack([each.square for each in comparisons])
            found = Comparison(alphas, residuals, squares).l2(factors)
        return found.to(self._received[0].dtype)

    def _check(self, images: Tensor, labels: Tensor) -> None:
        """Compares with the update rule itself, once: the model may do what no rule describes."""
        found = self._pass(images, labels)
        rows = []
        for candidate in images:
            update = GradientUpdate()(self._model, candidate, labels)
            for columns in self._scaling.kept:
                update = columns(update)
            rows.append(update)
        expected = [
            compare(torch.stack(gradients), Received(tensor))
            for gradients, tensor in zip(zip(*rows, strict=True), self._received, strict=True)
        ]
        largest = max(float(each.norm_square.max()) for each in expected)
        for ours, theirs in zip(found, expected, strict=True):
            scale = theirs.norm_square + 1e-10 * largest
            along = (ours.alpha - theirs.alpha).square() * ours.square
            across = (ours.residual.sqrt() - theirs.residual.sqrt()).square()
            if bool((along + across > _TOLERANCE**2 * scale).any()):
                raise CannotBatchError("its images influence each other or a layer is unusual")
        self._checked_candidates = len(images)
