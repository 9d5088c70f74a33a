"""Generator and critic of WGAN-GP (Gulrajani et al. 2017, arXiv 1704.00028).

The 32x32 networks are the DCGAN-like pair of the paper's CIFAR-10 experiment, which the
published face priors use too. Attribute names are part of the contract: published checkpoints
have keys such as ``preprocess.0.weight``, ``block1.0.weight`` and ``deconv_out.weight``.
"""

from __future__ import annotations

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

    Raises:
        UserError: If a size is not positive or ``image_size`` is neither 32 nor 64.
    """

    def __init__(self, width: int = 128, latent_dim: int = 128, image_size: int = 32) -> None:
        super().__init__()
        _check_sizes(width, image_size)
        check_positive("latent_dim", latent_dim)
        self.width = width
        self.latent_dim = latent_dim
        self.image_size = image_size

        self.first_channels = width * image_size // 8  # 4D at 32x32, 8D at 64x64
        features = self.first_channels * 4 * 4
        self.preprocess = nn.Sequential(
            nn.Linear(latent_dim, features), nn.BatchNorm1d(features), nn.ReLU()
        )
        channels = self.first_channels
        self.block1 = _upsampling_block(channels)
        self.block2 = _upsampling_block(channels // 2)
        self.block3 = _upsampling_block(channels // 4) if image_size == 64 else nn.Identity()
        self.deconv_out = nn.ConvTranspose2d(width, 3, kernel_size=2, stride=2)

    def forward(self, latents: Tensor) -> Tensor:
        """Generates images.

        Args:
            latents: Shape ``(N, latent_dim)``.

        Returns:
            Images ``(N, 3, image_size, image_size)`` in ``[-1, 1]``.
        """
        maps = self.preprocess(latents).view(-1, self.first_channels, 4, 4)
        maps = self.block3(self.block2(self.block1(maps)))
        return self.deconv_out(maps).tanh()


class WGANGPCritic(nn.Module):
    """Images ``(N, 3, image_size, image_size)`` in ``[-1, 1]`` -> one score each ``(N,)``.

    No batch norm: the gradient penalty is per image, so the score must not depend on the others.

    Args:
        width: Channels after the first convolution; doubled by each further one.
        image_size: 32 or 64 pixels.

    Raises:
        UserError: If ``width`` is not positive or ``image_size`` is neither 32 nor 64.
    """

    def __init__(self, width: int = 128, image_size: int = 32) -> None:
        super().__init__()
        _check_sizes(width, image_size)
        self.width = width
        self.image_size = image_size

        layers: list[nn.Module] = []
        channels_in, channels, size = 3, width, image_size
        while size > 4:
            layers += [nn.Conv2d(channels_in, channels, 3, stride=2, padding=1), nn.LeakyReLU()]
            channels_in, channels, size = channels, channels * 2, size // 2
        self.main = nn.Sequential(*layers)
        self.linear = nn.Linear(channels_in * 4 * 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Scores images: the higher, the more real the critic takes them to be.

        Args:
            images: Shape ``(N, 3, image_size, image_size)``.

        Returns:
            Scores ``(N,)``, unbounded.
        """
        return self.linear(self.main(images).flatten(1)).squeeze(1)


def _upsampling_block(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(channels, channels // 2, kernel_size=2, stride=2),
        nn.BatchNorm2d(channels // 2),
        nn.ReLU(),
    )


def _check_sizes(width: int, image_size: int) -> None:
    check_positive("width", width)
    if image_size not in IMAGE_SIZES:
        raise UserError(
            f"image_size is {image_size}: the WGAN-GP networks exist for 32 and 64 pixels only."
        )
