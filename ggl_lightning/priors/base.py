"""What every prior is: a generator of images together with its latent space."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor, nn

from ggl_lightning.errors import UserError, check_positive


class Prior(nn.Module, ABC):
    """A generator with its latent space, trained on public images.

    Always in eval mode once that is set, so that an image depends on its own latent only.

    Attributes:
        latent_shape: Shape of one latent, without the batch dimension.
        image_size: Height and width of the images, in pixels.
        num_classes: How many classes it is conditioned on: labels are below; None if it is not
            conditioned, or does not know.
    """

    latent_shape: tuple[int, ...]
    image_size: int
    num_classes: int | None = None

    @property
    def device(self) -> torch.device:
        """The device of the prior's parameters (the CPU for a prior without any)."""
        parameter = next(self.parameters(), None)
        return torch.device("cpu") if parameter is None else parameter.device

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode, whatever Lightning asks for."""
        return super().train(False)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draws latents from the prior's distribution: ``N(0, I)``, unless a prior says otherwise.

        Args:
            n: How many.
            generator: Source of randomness. With a CPU generator the latents are the same on
                every device; without one torch's global CPU generator is used.

        Returns:
            Float latents of shape ``(n, *latent_shape)`` on the prior's device.

        Raises:
            UserError: If ``n`` is not positive.
        """
        check_positive("n", n)
        device = torch.device("cpu") if generator is None else generator.device
        return torch.randn(n, *self.latent_shape, generator=generator, device=device).to(
            self.device
        )

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


def check_classes(labels: Tensor, num_classes: int) -> None:
    """Raises if a label is none of a prior's classes.

    Args:
        labels: Class indices, any shape.
        num_classes: How many classes the prior is conditioned on.

    Raises:
        UserError: If one is outside ``[0, num_classes)``.
    """
    unknown = labels[(labels < 0) | (labels >= num_classes)]
    if len(unknown):
        raise UserError(
            f"The label {int(unknown[0])} is none of the prior's {num_classes} classes "
            f"(0 to {num_classes - 1}): client model, images and prior must have the same."
        )
