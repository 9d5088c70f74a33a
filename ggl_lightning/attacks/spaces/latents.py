"""The latent space of a prior."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ggl_lightning.attacks.spaces.base import SearchSpace
from ggl_lightning.attacks.spaces.choice import Reached, SpaceChoice
from ggl_lightning.priors.base import Prior

if TYPE_CHECKING:
    from ggl_lightning.attacks.base import Target


class LatentSpace(SearchSpace):
    """The latents of a prior (Li et al. 2022, section 3.2): one for each image of a point.

    Args:
        prior: The generator, in eval mode.
        squash: Whether ``tanh`` is applied to a latent before it enters the generator, which bounds
            what enters.
    """

    def __init__(self, prior: Prior, squash: bool = False) -> None:
        self._prior = prior
        self._squash = squash

    @property
    def device(self) -> torch.device:
        """The prior's."""
        return self._prior.device

    @property
    def network(self) -> nn.Module:
        """The prior."""
        return self._prior

    def shape(self, count: int) -> tuple[int, ...]:
        """See `SearchSpace.shape`: ``(N, *prior.latent_shape)``."""
        return (count, *self._prior.latent_shape)

    def images(self, points: Tensor, labels: Tensor) -> Tensor:
        """See `SearchSpace.images`."""
        every_latent = self._generator_latents(points).flatten(0, 1)
        images = self._prior(every_latent, labels.repeat(len(points)))
        return images.unflatten(0, points.shape[:2])

    def artefacts(self, points: Tensor) -> dict[str, Tensor]:
        """The latents as the generator gets them, ``(C, N, *prior.latent_shape)``."""
        return {"latent": self._generator_latents(points)}

    def _generator_latents(self, points: Tensor) -> Tensor:
        points = points.to(self.device)
        return points.tanh() if self._squash else points


class Latents(SpaceChoice):
    """Searches the latents of the prior; see `LatentSpace`.

    Args:
        squash: Whether ``tanh`` is applied to a latent before it enters the generator.
    """

    needs_prior = True
    normal_start = True

    def __init__(self, squash: bool = False) -> None:
        self.squash = squash

    def space(self, target: Target, stage: int, reached: Reached | None) -> LatentSpace:
        """See `SpaceChoice.space`."""
        return LatentSpace(target.required_prior, self.squash)
