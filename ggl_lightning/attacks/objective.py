"""The objective of the search: which latents explain the received update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ggl_lightning.attacks.matching.image_distances import ImageDistances
from ggl_lightning.attacks.matching.update_distances import UpdateDistances
from ggl_lightning.memory import footprint
from ggl_lightning.priors.base import Prior

_HELD_PER_LAYER = 3
"""Peak bytes of a generator without gradients, per byte in and out of its largest layer: beside
them there are what skips it and what functions without a module return."""

_KEPT_PER_LAYER = 2
"""Peak bytes of a generator with gradients, per byte in and out of all its layers."""


class Objective:
    """Distance of a candidate's update from the received one, plus a latent regulariser.

    ``(1/L) sum_l w_l d(g_l(G(z)), y_l)`` over the ``L`` parameter tensors (Li et al. 2022, eq. 4),
    plus ``regularizer_weight`` times the regulariser unless the latents are squashed, plus
    ``statistics_weight`` times the distance of batch statistics if buffers were sent. A candidate
    is one latent per private image, ``(N, *latent_shape)``; the regulariser is averaged over them.

    Args:
        prior: The generator ``G``.
        distances: The distances ``d`` to the received update; or to images, for `invert`.
        labels: The labels to assume for the ``N`` private images.
        weights: Weights ``w_l`` of the parameter tensors, ``(L,)``; all 1 if None.
        regularizer: Maps latents ``(M, *latent_shape)`` to penalties ``(M,)``.
        regularizer_weight: Its weight.
        squash: Whether ``tanh`` is applied to a latent before it enters the generator. Squashed
            latents are bounded, and are not regularised.
        statistics_weight: Weight of the distance of batch statistics, if buffers are compared.
    """

    def __init__(
        self,
        prior: Prior,
        distances: UpdateDistances | ImageDistances,
        labels: Tensor,
        weights: Tensor | None = None,
        regularizer: Callable[[Tensor], Tensor] | None = None,
        regularizer_weight: float = 0.0,
        squash: bool = False,
        statistics_weight: float = 0.0,
    ) -> None:
        self._prior = prior
        self._distances = distances
        self._labels = labels.to(prior.device)
        self._weights = None if weights is None else weights.to(prior.device)
        self._regularizer = regularizer
        self._regularizer_weight = regularizer_weight
        self._squash = squash
        self._statistics_weight = statistics_weight
        self._needed: dict[bool, int] = {}

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one candidate: ``(N, *prior.latent_shape)``."""
        return (len(self._labels), *self._prior.latent_shape)

    def generator_latents(self, latents: Tensor) -> Tensor:
        """The latents as the generator gets them: squashed if so configured, on its device."""
        latents = latents.to(self._prior.device)
        return latents.tanh() if self._squash else latents

    def images(self, latents: Tensor) -> Tensor:
        """Generates the candidates' images.

        Args:
            latents: Searched latents ``(C, N, *latent_shape)``.

        Returns:
            Images ``(C, N, 3, H, W)`` in ``[-1, 1]``, differentiable.
        """
        every_latent = self.generator_latents(latents).flatten(0, 1)
        images = self._prior(every_latent, self._labels.repeat(len(latents)))
        return images.unflatten(0, latents.shape[:2])

    def __call__(self, latents: Tensor) -> Tensor:
        """Evaluates a population, in parts that fit the distances' memory bound.

        The images are generated part by part, too. With gradients, those of a part are computed
        with its losses, and all else of the part is forgotten: memory stays bounded, and the
        losses can be differentiated once, with respect to the latents alone.

        Args:
            latents: Searched latents ``(C, N, *latent_shape)``.

        Returns:
            Losses ``(C,)`` on the prior's device; differentiable with respect to the latents if
            they require gradients.
        """
        evaluation, device = self._distances.evaluation, self._prior.device
        needed = self._bytes_per_candidate(latents)
        if not latents.requires_grad:
            with torch.no_grad():
                return torch.cat(evaluation.run(self._losses, latents, needed, device))
        pairs = evaluation.run(self._losses_and_gradients, latents.detach(), needed, device)
        losses, gradients = (torch.cat(each) for each in zip(*pairs, strict=True))
        return _KnownGradient.apply(latents, losses, gradients)

    def evaluation_report(self) -> dict[str, object]:
        """In which parts populations were evaluated, those with gradients if there were any.

        See `MicroBatching.report`.
        """
        if not self._needed:
            return {}
        needed = self._needed[max(self._needed)]
        return self._distances.evaluation.report(needed, self._prior.device)

    def _losses_and_gradients(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        latents = latents.detach().requires_grad_()
        with torch.enable_grad():
            losses = self._losses(latents)
            (gradients,) = torch.autograd.grad(losses.sum(), latents)
        return losses.detach(), gradients

    def _losses(self, latents: Tensor) -> Tensor:
        distances, statistics = self._distances.measured(self.images(latents), self._labels)
        if self._weights is not None:
            distances = distances * self._weights
        losses = distances.mean(dim=1)
        if statistics is not None:
            losses = losses + self._statistics_weight * statistics
        if self._regularizer is not None and not self._squash:
            penalties = self._regularizer(latents.to(losses.device).flatten(0, 1))
            penalty = penalties.unflatten(0, latents.shape[:2]).mean(dim=1)
            losses = losses + self._regularizer_weight * penalty
        return losses

    def _bytes_per_candidate(self, latents: Tensor) -> int:
        """What a candidate is estimated to take, from its latent to its loss."""
        differentiable = latents.requires_grad
        if differentiable not in self._needed:
            images: list[Tensor] = []
            one = latents[:1].detach()
            prior = footprint(self._prior, lambda: images.append(self.images(one)))
            shape = images[0].shape[1:]
            distances = self._distances.bytes_per_candidate(shape, differentiable)
            if differentiable:  # what both have kept is needed until the end
                needed = _KEPT_PER_LAYER * prior.total + distances
            else:
                needed = max(_HELD_PER_LAYER * prior.largest, distances)
            self._needed[differentiable] = needed + images[0].nbytes
        return self._needed[differentiable]


class _KnownGradient(torch.autograd.Function):
    """Losses whose gradients with respect to the latents have been computed already."""

    @staticmethod
    def forward(ctx: Any, latents: Tensor, losses: Tensor, gradients: Tensor) -> Tensor:
        ctx.save_for_backward(gradients)
        return losses.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None]:
        (gradients,) = ctx.saved_tensors
        outer = outer.to(gradients).view(-1, *[1] * (gradients.dim() - 1))
        return outer * gradients, None, None
