"""The objective of the search: which points of a search space explain the received update."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ggl_lightning.attacks.matching.image_distances import ImageDistances
from ggl_lightning.attacks.matching.update_distances import UpdateDistances
from ggl_lightning.attacks.penalties import WeightedPenalties
from ggl_lightning.attacks.spaces import SearchSpace
from ggl_lightning.memory import footprint

_HELD_PER_LAYER = 3
"""Peak bytes of a generator without gradients, per byte in and out of its largest layer: beside
them there are what skips it and what functions without a module return."""

_KEPT_PER_LAYER = 2
"""Peak bytes of a generator with gradients, per byte in and out of all its layers."""


class Objective:
    """Distance of a candidate's update from the received one, plus a regulariser.

    ``(1/L) sum_l w_l d(g_l(x(p)), y_l)`` over the ``L`` parameter tensors (Li et al. 2022, eq. 4)
    for the images ``x`` of a point ``p``, plus ``regularizer_weight`` times the regulariser, plus
    ``statistics_weight`` times the distance of batch statistics if buffers were sent, plus the
    penalties. A candidate is a point, with one part per private image, ``(N, ...)``; the
    regulariser is averaged over them.

    Args:
        space: The search space, whose points become images.
        distances: The distances ``d`` to the received update; or to images, for `Attack.invert`.
        labels: The labels to assume for the ``N`` private images.
        weights: Weights ``w_l`` of the parameter tensors, ``(L,)``; all 1 if None.
        regularizer: Maps parts of points ``(M, ...)`` to penalties ``(M,)``; None for none.
        regularizer_weight: Its weight.
        statistics_weight: Weight of the distance of batch statistics, if buffers are compared.
        penalties: On the candidates' images, with their weights; None for none.
    """

    def __init__(
        self,
        space: SearchSpace,
        distances: UpdateDistances | ImageDistances,
        labels: Tensor,
        weights: Tensor | None = None,
        regularizer: Callable[[Tensor], Tensor] | None = None,
        regularizer_weight: float = 0.0,
        statistics_weight: float = 0.0,
        penalties: WeightedPenalties | None = None,
    ) -> None:
        self.space = space
        self._distances = distances
        self._labels = labels.to(space.device)
        self._weights = None if weights is None else weights.to(space.device)
        self._regularizer = regularizer
        self._regularizer_weight = regularizer_weight
        self._statistics_weight = statistics_weight
        self._penalties = penalties
        self._needed: dict[bool, int] = {}

    @property
    def count(self) -> int:
        """How many images a candidate stands for."""
        return len(self._labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one candidate."""
        return self.space.shape(len(self._labels))

    def images(self, points: Tensor) -> Tensor:
        """The candidates' images ``(C, N, 3, H, W)``, see `SearchSpace.images`."""
        return self.space.images(points, self._labels)

    def __call__(self, points: Tensor) -> Tensor:
        """Evaluates a population, in parts that fit the distances' memory bound.

        The images are generated part by part, too. With gradients, those of a part are computed
        with its losses, and all else of the part is forgotten: memory stays bounded, and the
        losses can be differentiated once, with respect to the points alone.

        Args:
            points: ``(C, N, ...)``.

        Returns:
            Losses ``(C,)`` on the space's device; differentiable with respect to the points if
            they require gradients.
        """
        evaluation, device = self._distances.evaluation, self.space.device
        needed = self._bytes_per_candidate(points)
        consensus = self._consensus(points.detach(), needed)
        if not points.requires_grad:
            with torch.no_grad():
                losses_of = partial(self._losses, consensus=consensus)
                return torch.cat(evaluation.run(losses_of, points, needed, device))
        both_of = partial(self._losses_and_gradients, consensus=consensus)
        pairs = evaluation.run(both_of, points.detach(), needed, device)
        losses, gradients = (torch.cat(each) for each in zip(*pairs, strict=True))
        return _KnownGradient.apply(points, losses, gradients)

    def evaluation_report(self) -> dict[str, object]:
        """In which parts populations were evaluated, those with gradients if there were any.

        See `MicroBatching.report`.
        """
        if not self._needed:
            return {}
        needed = self._needed[max(self._needed)]
        return self._distances.evaluation.report(needed, self.space.device)

    def _consensus(self, points: Tensor, needed: int) -> Tensor | None:
        """The mean image of a population, if a penalty needs it and there are several."""
        if self._penalties is None or not self._penalties.needs_consensus or len(points) == 1:
            return None
        evaluation, device = self._distances.evaluation, self.space.device
        with torch.no_grad():
            return torch.cat(evaluation.run(self.images, points, needed, device)).mean(dim=0)

    def _losses_and_gradients(
        self, points: Tensor, consensus: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        points = points.detach().requires_grad_()
        with torch.enable_grad():
            losses = self._losses(points, consensus)
            (gradients,) = torch.autograd.grad(losses.sum(), points)
        return losses.detach(), gradients

    def _losses(self, points: Tensor, consensus: Tensor | None) -> Tensor:
        images = self.images(points)
        searched = self.space.probabilities(points)
        labels = self._labels if searched is None else searched
        distances, statistics = self._distances.measured(images, labels)
        if self._weights is not None:
            distances = distances * self._weights
        losses = distances.mean(dim=1)
        if statistics is not None:
            losses = losses + self._statistics_weight * statistics
        if self._regularizer is not None:
            penalties = self._regularizer(points.to(losses.device).flatten(0, 1))
            penalty = penalties.unflatten(0, points.shape[:2]).mean(dim=1)
            losses = losses + self._regularizer_weight * penalty
        if self._penalties is not None:
            losses = losses + self._penalties(images, consensus)
        return losses

    def _bytes_per_candidate(self, points: Tensor) -> int:
        """What a candidate is estimated to take, from its point to its loss."""
        differentiable = points.requires_grad
        if differentiable not in self._needed:
            images: list[Tensor] = []
            one = points[:1].detach()
            making = footprint(self.space.network, lambda: images.append(self.images(one)))
            shape = images[0].shape[1:]
            distances = self._distances.bytes_per_candidate(shape, differentiable)
            if differentiable:  # what both have kept is needed until the end
                needed = _KEPT_PER_LAYER * making.total + distances
            else:
                needed = max(_HELD_PER_LAYER * making.largest, distances)
            self._needed[differentiable] = needed + images[0].nbytes
        return self._needed[differentiable]


class _KnownGradient(torch.autograd.Function):
    """Losses whose gradients with respect to the points have been computed already."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, losses: Tensor, gradients: Tensor) -> Tensor:
        ctx.save_for_backward(gradients)
        return losses.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None]:
        (gradients,) = ctx.saved_tensors
        outer = outer.to(gradients).view(-1, *[1] * (gradients.dim() - 1))
        return outer * gradients, None, None
