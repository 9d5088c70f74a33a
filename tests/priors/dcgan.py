"""A generator as users have them, written without knowledge of this package."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn


class DCGANGenerator(nn.Module):
    """DCGAN (Radford et al. 2016): latents (100, 1, 1), images 64x64 in [-1, 1]."""

    def __init__(self, features: int = 8, latent_dim: int = 100) -> None:
        super().__init__()
        widths = [features * k for k in (8, 4, 2, 1)]
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(latent_dim, widths[0], 4, 1, 0, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(True),
        ]
        for before, after in pairwise(widths):
            layers += [
                nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(True),
            ]
        self.main = nn.Sequential(
            *layers, nn.ConvTranspose2d(widths[-1], 3, 4, 2, 1, bias=False), nn.Tanh()
        )

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return self.main(latents)


def trained_dcgan(seed: int = 0, features: int = 8) -> DCGANGenerator:
    """Weights and statistics that training could have left: all of them matter."""
    random = torch.Generator().manual_seed(seed)
    generator = DCGANGenerator(features).eval()
    for name, tensor in generator.state_dict().items():
        if name.endswith("running_var"):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=random))
        elif tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=random) * 0.1)
    for module in generator.main:
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    return generator


class ConditionalBytes(nn.Module):
    """Colours of a class, in [0, 255]: another range, a label, a flat latent."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.colour = nn.Embedding(num_classes, 3)
        self.light = nn.Linear(4, 1)

    def forward(self, latents: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        colours = 255 * torch.sigmoid(self.colour(labels) + self.light(latents))
        return colours[:, :, None, None].expand(-1, -1, 8, 8)
