"""Pixels: images that nothing but their range limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ggl_lightning.attacks.spaces.base import SearchSpace
from ggl_lightning.attacks.spaces.choice import Reached, SpaceChoice

if TYPE_CHECKING:
    from ggl_lightning.attacks.base import Target


class PixelSpace(SearchSpace):
    """The pixels of the images themselves (Zhu et al. 2019, arXiv 1906.08935).

    Args:
        image_shape: ``(3, H, W)``.
        device: Where images are used.
        box: Whether pixels are kept in ``[-1, 1]`` (as Geiping et al. 2020, arXiv 2003.14053).
    """

    def __init__(
        self, image_shape: tuple[int, int, int], device: torch.device, box: bool = True
    ) -> None:
        self._image_shape = image_shape
        self._device = device
        self._box = box
        self._network = nn.Identity()

    @property
    def device(self) -> torch.device:
        """As given."""
        return self._device

    @property
    def network(self) -> nn.Module:
        """None worth its name: a point is its images."""
        return self._network

    def shape(self, count: int) -> tuple[int, ...]:
        """See `SearchSpace.shape`: ``(N, 3, H, W)``."""
        return (count, *self._image_shape)

    def start(self, n: int, count: int, generator: torch.Generator) -> Tensor:
        """See `SearchSpace.start`: ``N(0, I)``, brought into the box if there is one."""
        return self.project(super().start(n, count, generator))

    def project(self, points: Tensor) -> Tensor:
        """See `SearchSpace.project`: each pixel to the nearest value in the box."""
        return points.clamp(-1, 1) if self._box else points

    def images(self, points: Tensor, labels: Tensor) -> Tensor:
        """See `SearchSpace.images`: the points."""
        return points.to(self._device)


class Pixels(SpaceChoice):
    """Searches the pixels themselves; see `PixelSpace`.

    Args:
        box: Whether pixels are kept in ``[-1, 1]``.
    """

    def __init__(self, box: bool = True) -> None:
        self.box = box

    def space(self, target: Target, stage: int, reached: Reached | None) -> PixelSpace:
        """See `SpaceChoice.space`."""
        return PixelSpace(target.image_shape, target.device, self.box)
