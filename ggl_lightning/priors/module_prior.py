"""Any generator as a prior, described in the configuration alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ggl_lightning.errors import UserError, check_positive
from ggl_lightning.priors.base import Prior
from ggl_lightning.priors.identity import settings_digest
from ggl_lightning.priors.module_weights import load_weights

_RANGE_TOLERANCE = 1e-3  # of the range's length


class ModulePrior(Prior):
    """Any ``nn.Module`` that maps latents to images, with ``z ~ N(0, I)``.

    The generator is always in eval mode, and its parameters never get gradients. It is tried on
    one latent at construction, so that a wrong description ends before any search.

    Args:
        generator: Called as ``generator(latents)`` with latents ``(N, *latent_shape)``; returns
            images ``(N, 3, image_size, image_size)``.
        latent_shape: Shape of one latent, e.g. ``(100, 1, 1)``.
        image_size: Height and width of the generator's images, in pixels.
        checkpoint: The generator's weights: ``.safetensors``, or any file of ``torch.save`` with a
            state dict; read as data only. None to use the module as it was constructed.
        output_range: Lowest and highest value of the generator's images; mapped to ``[-1, 1]``.
        output_size: Height and width of the prior's images, in pixels: the generator's are
            averaged over areas to this size. None for the generator's own.
        conditional: Whether the generator is called as ``generator(latents, labels)``, with class
            indices ``(N,)``, int64.
        state_dict_key: Where in the checkpoint's dictionary the state dict is, e.g. ``netG``;
            None for wherever there is one that fits.
        prefix: What precedes the generator's names in the state dict, e.g. ``generator.``;
            tensors without it are left out.

    Raises:
        UserError: If a setting is out of range, the checkpoint is missing or does not fit, or the
            generator does not do on a latent what the settings say.
    """

    def __init__(
        self,
        generator: nn.Module,
        latent_shape: tuple[int, ...],
        image_size: int,
        checkpoint: str | None = None,
        output_range: tuple[float, float] = (-1.0, 1.0),
        output_size: int | None = None,
        conditional: bool = False,
        state_dict_key: str | None = None,
        prefix: str = "",
    ) -> None:
        super().__init__()
        low, high = output_range
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise UserError(
                f"output_range is [{low}, {high}]: it must be the lowest and the highest value of "
                "the generator's images, e.g. [0, 1]."
            )
        if not latent_shape or min(latent_shape) < 1:
            raise UserError(
                f"latent_shape is {list(latent_shape)}: it must list at least one length, all "
                "positive, e.g. [100, 1, 1]."
            )
        check_positive("image_size", image_size)
        if output_size is not None:
            check_positive("output_size", output_size)
        if checkpoint is not None:
            load_weights(generator, checkpoint, state_dict_key, prefix)
        self.generator = generator.requires_grad_(False)
        self.latent_shape = tuple(latent_shape)
        self.image_size = image_size if output_size is None else output_size
        self.conditional = conditional
        self._generator_size = image_size
        # Exactly 1 and 0 for a generator that is in [-1, 1] already.
        self._scale, self._shift = 2 / (high - low), -(high + low) / (high - low)
        self.eval()
        self._try_generator(low, high)
        # A module's text shows its layers and their settings, which its weights do not.
        self.register_buffer(
            "settings",
            settings_digest(type(generator), generator, output_range, output_size, conditional),
        )

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images ``(N, 3, image_size, image_size)`` in ``[-1, 1]``; see `Prior.forward`.

        Raises:
            UserError: If the generator is conditional and there are no labels.
        """
        images = self._generate(latents, labels) * self._scale + self._shift
        if self.image_size == self._generator_size:
            return images
        return F.interpolate(images, size=(self.image_size, self.image_size), mode="area")

    def _generate(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        if not self.conditional:
            return self.generator(latents)
        if labels is None:
            raise UserError("The prior is conditional: it needs a label with every latent.")
        return self.generator(latents, labels)

    @torch.no_grad()
    def _try_generator(self, low: float, high: float) -> None:
        name = type(self.generator).__name__
        latents = self.sample(1, torch.Generator().manual_seed(0))
        labels = torch.zeros(1, dtype=torch.long, device=latents.device)
        try:
            images = self._generate(latents, labels)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            arguments = f"latents of shape {tuple(latents.shape)}" + (
                " and labels of shape (1,)" if self.conditional else ""
            )
            raise UserError(f"The generator {name} fails on {arguments}: {error}") from error
        expected = (1, 3, self._generator_size, self._generator_size)
        if not isinstance(images, Tensor) or tuple(images.shape) != expected:
            found = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise UserError(
                f"The generator {name} returns {found} for one latent of shape "
                f"{self.latent_shape}, expected {expected}: check image_size and latent_shape."
            )
        if not images.isfinite().all():
            raise UserError(
                f"The generator {name} returns NaN or infinite values: check its checkpoint."
            )
        lowest, highest = images.min().item(), images.max().item()
        slack = _RANGE_TOLERANCE * (high - low)
        if lowest < low - slack or highest > high + slack:
            raise UserError(
                f"The generator {name} returns values from {lowest:.4g} to {highest:.4g}, outside "
                f"output_range [{low:g}, {high:g}]: set output_range to what it generates."
            )
        if not torch.equal(images, self._generate(latents, labels)):
            raise UserError(
                f"The generator {name} returns another image each time for the same latent, so "
                "there is nothing to search for: switch off the noise it draws."
            )
