"""Small feature extractors for the distance between image distributions; nothing to download.

Distances are comparable only between runs that use the same extractor: they are for watching
one training run and choosing its best checkpoint. They are not the Inception FID of papers;
for that give the metric an Inception network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ggl_lightning.errors import check_positive


class PooledPixels(nn.Module):
    """Average-pooled pixels: layout, colours and lighting, blind to fine detail.

    Args:
        grid: Images are averaged over ``grid x grid`` cells.
    """

    def __init__(self, grid: int = 8) -> None:
        super().__init__()
        check_positive("grid", grid)
        self.grid = grid

    def forward(self, images: Tensor) -> Tensor:
        """Maps images ``(N, 3, H, W)`` in ``[-1, 1]`` to features ``(N, 3 * grid * grid)``."""
        return F.adaptive_avg_pool2d(images, self.grid).flatten(1)


class RandomConvFeatures(nn.Module):
    """Pooled pixels and a random convolutional network's responses, which see edges and texture.

    The network's weights come from a fixed seed, so that the distance means the same in every
    run. Random features are enough to tell blurred or distorted samples from real ones (Jarrett
    et al. 2009, "What is the best multi-stage architecture for object recognition?", find random
    filters with rectification and pooling to be strong features).

    Args:
        channels: Filters of each of the two convolutions.
        seed: Seed of the weights.
    """

    def __init__(self, channels: int = 32, seed: int = 0) -> None:
        super().__init__()
        check_positive("channels", channels)
        generator = torch.Generator().manual_seed(seed)
        # Buffers outside the state dict: the seed restores them, and they never train.
        for name, inputs in (("filters1", 3), ("filters2", channels)):
            filters = torch.randn(channels, inputs, 3, 3, generator=generator)
            filters *= (2 / (inputs * 9)) ** 0.5  # He initialisation keeps the scale
            self.register_buffer(name, filters, persistent=False)

    filters1: Tensor
    filters2: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Maps images ``(N, 3, H, W)`` in ``[-1, 1]`` to features ``(N, 48 + 8 * channels)``."""
        maps1 = F.relu(F.conv2d(images, self.filters1, padding=1))
        maps2 = F.relu(F.conv2d(F.avg_pool2d(maps1, 2), self.filters2, padding=1))
        pooled = [
            F.adaptive_avg_pool2d(maps, size).flatten(1)
            for maps, size in ((images, 4), (maps1, 2), (maps2, 2))
        ]
        return torch.cat(pooled, dim=1)
