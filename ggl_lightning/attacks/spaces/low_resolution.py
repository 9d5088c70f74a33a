"""Images of a low resolution, enlarged: fewer unknowns than pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ggl_lightning.attacks.spaces.base import SearchSpace
from ggl_lightning.attacks.spaces.choice import Reached, SpaceChoice
from ggl_lightning.errors import check_positive

if TYPE_CHECKING:
    from ggl_lightning.attacks.base import Target


class LowResolutionSpace(SearchSpace):
    """Small images, enlarged by bicubic interpolation (ROG: Yue et al. 2023, arXiv 2206.04055).

    Descents begin at uniform noise in ``[-1, 1]``, and are not kept there.

    Args:
        image_shape: ``(3, H, W)`` of the enlarged images.
        device: Where images are made.
        factor: How many times higher and wider they are than a point; divides ``H`` and ``W``.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], device: torch.device, factor: int = 4
    ) -> None:
        self._image_shape = image_shape
        self._device = device
        self._factor = factor
        self._network = nn.Identity()

    @property
    def device(self) -> torch.device:
        """As given."""
        return self._device

    @property
    def network(self) -> nn.Module:
        """None: interpolation has no parameters."""
        return self._network

    def shape(self, count: int) -> tuple[int, ...]:
        """See `SearchSpace.shape`: ``(N, 3, H / factor, W / factor)``."""
        channels, height, width = self._image_shape
        return (count, channels, height // self._factor, width // self._factor)

    def start(self, n: int, count: int, generator: torch.Generator) -> Tensor:
        """See `SearchSpace.start`: uniform in ``[-1, 1]``."""
        return 2 * torch.rand(n, *self.shape(count), generator=generator) - 1

    def images(self, points: Tensor, labels: Tensor) -> Tensor:
        """See `SearchSpace.images`; overshoots ``[-1, 1]`` where interpolation does."""
        small = points.to(self._device).flatten(0, 1)
        images = F.interpolate(small, size=self._image_shape[1:], mode="bicubic")
        return images.unflatten(0, points.shape[:2])


class LowResolution(SpaceChoice):
    """Searches small images that are enlarged; see `LowResolutionSpace`.

    Args:
        factor: How many times higher and wider the private images are.

    Raises:
        UserError: If ``factor`` is not positive.
    """

    def __init__(self, factor: int = 4) -> None:
        check_positive("factor", factor)
        self.factor = factor

    def problems(self, target: Target) -> list[str]:
        """See `SpaceChoice.problems`: a factor that does not divide the images' size."""
        _, height, width = target.image_shape
        if height % self.factor == 0 == width % self.factor:
            return []
        return [
            f"factor of LowResolution is {self.factor}: it must divide the height and width of "
            f"the images, which are {height} x {width}."
        ]

    def space(self, target: Target, stage: int, reached: Reached | None) -> LowResolutionSpace:
        """See `SpaceChoice.space`."""
        return LowResolutionSpace(target.image_shape, target.device, self.factor)
