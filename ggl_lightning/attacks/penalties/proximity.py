"""The distance from images that are known to be near."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ggl_lightning.attacks.penalties.base import Penalty


class Proximity(Penalty):
    """Mean squared distance from given images, the mean over a candidate's images and pixels.

    Args:
        weight: Its weight.
        images: ``(N, 3, H, W)``, in a candidate's order.

    Raises:
        UserError: If ``weight`` is negative.
    """

    def __init__(self, weight: float, images: Tensor) -> None:
        super().__init__(weight)
        self._images = images

    def __call__(self, images: Tensor, model: nn.Module, consensus: Tensor | None) -> Tensor:
        """See `Penalty.__call__`."""
        near = self._images.to(images)
        return torch.square(images - near).flatten(1).mean(dim=1)
