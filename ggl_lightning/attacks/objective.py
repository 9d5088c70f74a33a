"""The objective of the search: which latents explain the received update."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ggl_lightning.attacks.distances import UpdateDistances
from ggl_lightning.attacks.image_distances import ImageDistances
from ggl_lightning.priors.base import Prior


class Objective:
    """Distance of a candidate's update from the received one, plus a latent regulariser.

    ``(1/L) sum_l w_l d(g_l(G(z)), y_l)`` over the ``L`` parameter tensors (Li et al. 2022, eq. 4),
    plus ``regularizer_weight`` times the regulariser unless the latents are squashed. A candidate
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
    ) -> None:
        self._prior = prior
        self._distances = distances
        self._labels = labels.to(prior.device)
        self._weights = None if weights is None else weights.to(prior.device)
        self._regularizer = regularizer
        self._regularizer_weight = regularizer_weight
        self._squash = squash

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
        """Evaluates a population.

        Args:
            latents: Searched latents ``(C, N, *latent_shape)``.

        Returns:
            Losses ``(C,)`` on the prior's device; differentiable with respect to the latents if
            they require gradients.
        """
        with torch.set_grad_enabled(latents.requires_grad):
            distances = self._distances(self.images(latents), self._labels)
            if self._weights is not None:
                distances = distances * self._weights
            losses = distances.mean(dim=1)
            if self._regularizer is not None and not self._squash:
                penalties = self._regularizer(latents.to(losses.device).flatten(0, 1))
                penalty = penalties.unflatten(0, latents.shape[:2]).mean(dim=1)
                losses = losses + self._regularizer_weight * penalty
            return losses
