"""What every prior is: a generator of images together with its latent space."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Prior(nn.Module, ABC):
    """A generator with its latent space, trained on public images.

    Attributes:
        latent_shape: Shape of one latent, without the batch dimension.
        image_size: Height and width of the images, in pixels.
    """

    latent_shape: tuple[int, ...]
    image_size: int

    @property
    def device(self) -> torch.device:
        """The device of the prior's parameters (the CPU for a prior without any)."""
        parameter = next(self.parameters(), None)
        return torch.device("cpu") if parameter is None else parameter.device

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draws latents from the prior's distribution.

        Args:
            n: How many.
            generator: Source of randomness. With a CPU generator the latents are the same on
                every device; without one torch's global CPU generator is used.

        Returns:
            Float latents of shape ``(n, *latent_shape)`` on the prior's device.
        """

    @abstractmethod
    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generates one image per latent.

        Args:
            latents: Shape ``(N, *latent_shape)``.
            labels: Class indices ``(N,)``; ignored by unconditional priors.

        Returns:
            Images ``(N, 3, image_size, image_size)`` in ``[-1, 1]``, differentiable with
            respect to ``latents``.
        """
