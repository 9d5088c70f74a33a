"""The objective of the search: which latent explains the received update."""

from __future__ import annotations

import torch
from torch import Tensor

from ggl_lightning.attacks.distances import UpdateDistances
from ggl_lightning.attacks.regularizers import kl_regularizer
from ggl_lightning.priors.base import Prior


class Objective:
    """Distance of a candidate's update from the received one, plus a latent regulariser.

    ``(1/L) sum_l ||g_l(G(z)) - y_l||^2`` over the ``L`` parameter tensors (Li et al. 2022, eq. 4),
    plus ``kl_weight`` times the regulariser unless the latents are squashed.

    Args:
        prior: The generator ``G``.
        distances: The distances to the received update.
        label: The label to assume for the private image.
        kl_weight: Weight of `kl_regularizer`.
        squash: Whether ``tanh`` is applied to a latent before it enters the generator. Squashed
            latents are bounded, and are not regularised.
    """

    def __init__(
        self,
        prior: Prior,
        distances: UpdateDistances,
        label: int,
        kl_weight: float = 0.1,
        squash: bool = False,
    ) -> None:
        self._prior = prior
        self._distances = distances
        self._label = label
        self._kl_weight = kl_weight
        self._squash = squash

    def generator_latents(self, latents: Tensor) -> Tensor:
        """The latents as the generator gets them: squashed if so configured, on its device."""
        latents = latents.to(self._prior.device)
        return latents.tanh() if self._squash else latents

    def images(self, latents: Tensor) -> Tensor:
        """Generates the candidates' images.

        Args:
            latents: Searched latents ``(C, *latent_shape)``.

        Returns:
            Images ``(C, 3, H, W)`` in ``[-1, 1]``.
        """
        return self._prior(self.generator_latents(latents), self._labels(len(latents)))

    @torch.no_grad()
    def __call__(self, latents: Tensor) -> Tensor:
        """Evaluates a population.

        Args:
            latents: Searched latents ``(C, *latent_shape)``.

        Returns:
            Losses ``(C,)``, on the prior's device.
        """
        images = self.images(latents)
        losses = self._distances(images, self._labels(len(images))).mean(dim=1)
        if not self._squash:
            losses = losses + self._kl_weight * kl_regularizer(latents.to(losses.device))
        return losses

    def _labels(self, count: int) -> Tensor:
        return torch.full((count,), self._label, device=self._prior.device)
