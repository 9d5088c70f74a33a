"""BigGAN-deep as a prior: the ImageNet audit's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ggl_lightning.errors import UserError, check_positive
from ggl_lightning.priors.base import Prior, check_classes
from ggl_lightning.priors.biggan_files import load_biggan
from ggl_lightning.priors.identity import settings_digest


class BigGANPrior(Prior):
    """A class-conditional BigGAN-deep generator (Brock et al., ICLR 2019), trained on ImageNet.

    Network and weights are those of the library ``pytorch_pretrained_biggan``. Always in eval
    mode, and its parameters never get gradients.

    Latents go into the generator as they are, whatever ``truncation`` is: truncation shortens the
    latents that `sample` draws, and chooses the batch-norm statistics that the generator was given
    for latents of that length. The library tabulates those at multiples of 0.02; keep to these.

    Args:
        weights: A folder with ``config.json`` and ``pytorch_model.bin`` in the library's format,
            or else ``biggan-deep-128``, ``biggan-deep-256`` or ``biggan-deep-512``, which is
            looked up in the library's cache (``~/.pytorch_pretrained_biggan``, or the environment
            variable ``PYTORCH_PRETRAINED_BIGGAN_CACHE``).
        truncation: In ``(0, 1]``.
        output_size: Height and width of the images, in pixels: the generator's are averaged over
            areas to this size. None for the generator's own.
        allow_download: Whether the library may download a name's files that are not in its cache.

    Attributes:
        num_classes: Labels are 0 to ``num_classes - 1``: 1000, in ImageNet's usual order, for the
            published weights.

    Raises:
        UserError: If a setting is out of range, or the weights are missing or cannot be read.
    """

    def __init__(
        self,
        weights: str,
        truncation: float = 1.0,
        output_size: int | None = 224,
        allow_download: bool = False,
    ) -> None:
        super().__init__()
        if not 0 < truncation <= 1:
            raise UserError(f"truncation is {truncation}: it must be above 0 and at most 1.")
        if output_size is not None:
            check_positive("output_size", output_size)
        self.generator = load_biggan(weights, allow_download).requires_grad_(False)
        config = self.generator.config
        self.truncation = truncation
        self.num_classes: int = config.num_classes
        self.latent_shape = (config.z_dim,)
        self.image_size = config.output_dim if output_size is None else output_size
        self.register_buffer("settings", settings_digest(truncation, self.image_size, config))
        self.eval()

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draws latents ``(n, 128)`` as the library does; see `Prior.sample`.

        They are ``truncation`` times standard normals that are redrawn until they lie in
        ``[-2, 2]`` (the library's ``truncated_noise_sample``, on torch's generators).
        """
        check_positive("n", n)
        device = torch.device("cpu") if generator is None else generator.device
        latents = torch.empty(n, *self.latent_shape, device=device)
        nn.init.trunc_normal_(latents, a=-2.0, b=2.0, generator=generator)
        return (self.truncation * latents).to(self.device)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generates one image per latent and label.

        Args:
            latents: ``(N, 128)``.
            labels: Class indices ``(N,)``, in ``[0, num_classes)``.

        Returns:
            Images ``(N, 3, image_size, image_size)`` in ``[-1, 1]``, differentiable with respect
            to ``latents``.

        Raises:
            UserError: If there are no labels, or one is not a class of the generator's.
        """
        one_hot = self._one_hot(labels).to(latents)
        images = self.generator(latents, one_hot, self.truncation)
        if images.shape[-1] == self.image_size:
            return images
        return F.interpolate(images, size=(self.image_size, self.image_size), mode="area")

    def _one_hot(self, labels: Tensor | None) -> Tensor:
        if labels is None:
            raise UserError("BigGAN is class-conditional: it needs a label with every latent.")
        check_classes(labels, self.num_classes)
        return F.one_hot(labels.long(), self.num_classes)
