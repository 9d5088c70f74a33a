"""Generator and critic of WGAN-GP (Gulrajani et al. 2017, arXiv 1704.00028).

The 32x32 networks are the DCGAN-like pair of the paper's CIFAR-10 experiment, which the
published face priors use too. Attribute names are part of the contract: published checkpoints
have keys such as ``preprocess.0.weight``, ``block1.0.weight`` and ``deconv_out.weight``.

With ``num_classes`` both are conditioned on a class. The generator's first layer gets the latent
with a learned vector of the class appended, as long as the latent, as BigGAN-deep's does (Brock et
al. 2019, arXiv 1809.11096, appendix B). The critic adds to its score the inner product of its
features with a learned vector of the class: ``psi(phi(x)) + v_y . phi(x)``, the projection
discriminator (Miyato and Koyama 2018, arXiv 1802.05637, eq. 3).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ggl_lightning.errors import UserError, check_positive

IMAGE_SIZES = (32, 64)
"""Image heights and widths, in pixels, that the networks exist for."""


class WGANGPGenerator(nn.Module):
    """Latent ``(N, latent_dim)`` -> images ``(N, 3, image_size, image_size)`` in ``[-1, 1]``.

    A linear layer makes a 4x4 map, each block doubles it and halves its channels, and the last
    transposed convolution and tanh give the image. 64x64 has one more block (``block3``) and
    starts with twice the channels, so that the last block ends at ``width`` channels in both.

    Args:
        width: Channels before the last layer (``D`` of the paper's code).
        latent_dim: Length of the latent, distributed as ``N(0, I)``.
        image_size: 32 or 64 pixels.
        num_classes: How many classes it is conditioned on; None for no condition.

    Raises:
        UserError: If a size is not positive or ``image_size`` is neither 32 nor 64.
    """

    def __init__(
        self,
        width: int = 128,
        latent_dim: int = 128,
        image_size: int = 32,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        _check_sizes(width, image_size, num_classes)
        check_positive("latent_dim", latent_dim)
        self.width = width
        self.latent_dim = latent_dim
        self.image_size = image_size
        self.num_classes = num_classes

        inputs = latent_dim
        if num_classes is not None:
            self.class_embedding = nn.Embedding(num_classes, latent_dim)  # N(0, 1), as latents
            inputs += latent_dim
        self.first_channels = width * image_size // 8  # 4D at 32x32, 8D at 64x64
        features = self.first_channels * 4 * 4
        self.preprocess = nn.Sequential(
            nn.Linear(inputs, features), nn.BatchNorm1d(features), nn.ReLU()
        )
        channels = self.first_channels
        self.block1 = _upsampling_block(channels)
        self.block2 = _upsampling_block(channels // 2)
        self.block3 = _upsampling_block(channels // 4) if image_size == 64 else nn.Identity()
        self.deconv_out = nn.ConvTranspose2d(width, 3, kernel_size=2, stride=2)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generates images.

        Args:
            latents: Shape ``(N, latent_dim)``.
            labels: Classes ``(N,)`` in ``[0, num_classes)``; ignored without ``num_classes``.

        Returns:
            Images ``(N, 3, image_size, image_size)`` in ``[-1, 1]``.

        Raises:
            UserError: If it is conditioned and there are no labels.
        """
        if self.num_classes is not None:
            classes = self.class_embedding(_needed(labels, self.num_classes))
            latents = torch.cat([latents, classes.to(latents.dtype)], dim=1)
        maps = self.preprocess(latents).view(-1, self.first_channels, 4, 4)
        maps = self.block3(self.block2(self.block1(maps)))
        return self.deconv_out(maps).tanh()


class WGANGPCritic(nn.Module):
    """Images ``(N, 3, image_size, image_size)`` in ``[-1, 1]`` -> one score each ``(N,)``.

    No batch norm: the gradient penalty is per image, so the score must not depend on the others.

    Args:
        width: Channels after the first convolution; doubled by each further one.
        image_size: 32 or 64 pixels.
        num_classes: How many classes it is conditioned on; None for no condition.

    Raises:
        UserError: If a size is not positive or ``image_size`` is neither 32 nor 64.
    """

    def __init__(
        self, width: int = 128, image_size: int = 32, num_classes: int | None = None
    ) -> None:
        super().__init__()
        _check_sizes(width, image_size, num_classes)
        self.width = width
        self.image_size = image_size
        self.num_classes = num_classes

        layers: list[nn.Module] = []
        channels_in, channels, size = 3, width, image_size
        while size > 4:
            layers += [nn.Conv2d(channels_in, channels, 3, stride=2, padding=1), nn.LeakyReLU()]
            channels_in, channels, size = channels, channels * 2, size // 2
        self.main = nn.Sequential(*layers)
        features = channels_in * 4 * 4
        self.linear = nn.Linear(features, 1)
        if num_classes is not None:
            self.class_projection = nn.Embedding(num_classes, features)
            # As the linear layer's weights: the default, N(0, 1), would drown their score.
            nn.init.uniform_(self.class_projection.weight, -(features**-0.5), features**-0.5)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Scores images: the higher, the more real the critic takes them to be.

        Args:
            images: Shape ``(N, 3, image_size, image_size)``.
            labels: Classes ``(N,)`` in ``[0, num_classes)``; ignored without ``num_classes``.

        Returns:
            Scores ``(N,)``, unbounded: as images of their classes, if it is conditioned.

        Raises:
            UserError: If it is conditioned and there are no labels.
        """
        features = self.main(images).flatten(1)
        scores = self.linear(features).squeeze(1)
        if self.num_classes is None:
            return scores
        classes = self.class_projection(_needed(labels, self.num_classes))
        return scores + (classes * features).sum(dim=1)


def _upsampling_block(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(channels, channels // 2, kernel_size=2, stride=2),
        nn.BatchNorm2d(channels // 2),
        nn.ReLU(),
    )


def _needed(labels: Tensor | None, num_classes: int) -> Tensor:
    if labels is None:
        raise UserError(
            f"The WGAN-GP is conditioned on {num_classes} classes: it needs a label with every "
            "latent and image."
        )
    return labels


def _check_sizes(width: int, image_size: int, num_classes: int | None) -> None:
    check_positive("width", width)
    if num_classes is not None:
        check_positive("num_classes", num_classes)
    if image_size not in IMAGE_SIZES:
        raise UserError(
            f"image_size is {image_size}: the WGAN-GP networks exist for 32 and 64 pixels only."
        )
