"""Distances of a population to the received update where they have a closed form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ggl_lightning.attacks.matching.candidate_gradients import CandidateGradients
from ggl_lightning.attacks.matching.comparison import Comparison, as_one_tensor
from ggl_lightning.attacks.matching.distance import AnyDistance, Distance, Excess, WholeDistance
from ggl_lightning.attacks.matching.errors import CannotBatchError
from ggl_lightning.attacks.matching.scaling import Scaling, can_scale
from ggl_lightning.attacks.matching.side_by_side import Evaluate, SideBySide
from ggl_lightning.clients import Update
from ggl_lightning.defenses import Adaptation


class PopulationDistances:
    """Evaluates a population of plain gradients without any of them in full.

    Args:
        model: The client model, in eval mode.
        received: The received update.
        adaptation: Applied to every candidate's update before it is compared.
        distance: What is measured between two tensors.

    Raises:
        CannotBatchError: If one of them has no closed form.
    """

    description = "in closed form"

    def __init__(
        self,
        model: nn.Module,
        received: Update,
        adaptation: Adaptation | None,
        distance: AnyDistance,
    ) -> None:
        if not can_scale(adaptation):
            raise CannotBatchError(f"the adaptation is {type(adaptation).__name__}")
        if distance is Distance.l1:
            raise CannotBatchError("the distance is l1")
        self._scaling = Scaling(adaptation)
        self._gradients = CandidateGradients(model, received)
        for index, _ in self._scaling.masks:
            if not self._gradients.is_linear_weight(index):
                raise CannotBatchError(f"columns of tensor {index} are left out")
        self._side_by_side = SideBySide(
            self._evaluating(self._gradients), lambda: self._evaluating(self._gradients.twin())
        )
        self._distance = distance
        self._dtype = received[0].dtype

    @property
    def general(self) -> dict[str, str]:
        """Why parameters take the general path, by name."""
        return self._gradients.general

    def prepare(self, shape: torch.Size, differentiable: bool) -> None:
        """See `CandidateGradients.check`."""
        self._gradients.check(shape, differentiable)

    def bytes_per_candidate(self, differentiable: bool) -> int:
        """What a candidate is estimated to take."""
        return self._gradients.bytes_per_candidate(False, differentiable)

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Distances ``(C, L)`` of candidates ``(C, N, 3, H, W)``."""
        if self.general:  # whose vectorised gradients are work enough for all threads
            return self._distances(self._gradients, images, labels)
        return self._side_by_side(images, labels)

    def _evaluating(self, gradients: CandidateGradients) -> Evaluate:
        return lambda images, labels: self._distances(gradients, images, labels)

    def _distances(self, gradients: CandidateGradients, images: Tensor, labels: Tensor) -> Tensor:
        whole, masked = gradients.compare(images, labels, self._scaling.masks)
        comparisons, factors = self._scaling.apply(whole, masked)
        if self._distance is Distance.cosine:  # which no scaling changes
            found = torch.stack([each.cosine() for each in comparisons], dim=1)
        else:
            alphas = torch.stack([each.alpha for each in comparisons], dim=1)
            residuals = torch.stack([each.residual for each in comparisons], dim=1)
            squares = torch.stack([each.square for each in comparisons])
            joined = Comparison(alphas, residuals, squares)
            if self._distance is WholeDistance.whole_cosine:
                return as_one_tensor(joined, factors).cosine().unsqueeze(1).to(self._dtype)
            if self._distance is Excess.l2:
                return joined.excess(factors)
            found = joined.l2(factors)
        return found.to(self._dtype)
