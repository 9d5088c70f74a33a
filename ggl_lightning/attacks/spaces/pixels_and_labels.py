"""Pixels together with labels, as deep leakage from gradients searches them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ggl_lightning.attacks.spaces.choice import Reached, SpaceChoice
from ggl_lightning.attacks.spaces.pixels import PixelSpace

if TYPE_CHECKING:
    from ggl_lightning.attacks.base import Target


class PixelAndLabelSpace(PixelSpace):
    """Pixels without bounds, and a logit for each class (Zhu et al. 2019, arXiv 1906.08935).

    A label is the softmax of its logits, and enters the client's cross-entropy as probabilities.

    Args:
        image_shape: ``(3, H, W)``.
        device: Where images are used.
        classes: Number of classes.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], device: torch.device, classes: int
    ) -> None:
        super().__init__(image_shape, device, box=False)
        self._pixels = math.prod(image_shape)
        self._classes = classes

    def shape(self, count: int) -> tuple[int, ...]:
        """See `SearchSpace.shape`: ``(N, 3 H W + classes)``."""
        return (count, self._pixels + self._classes)

    def images(self, points: Tensor, labels: Tensor) -> Tensor:
        """See `SearchSpace.images`: the first entries; ``labels`` are of no effect."""
        return points.to(self.device)[..., : self._pixels].unflatten(-1, self._image_shape)

    def probabilities(self, points: Tensor) -> Tensor:
        """See `SearchSpace.probabilities`: the softmax of the last entries."""
        return points.to(self.device)[..., self._pixels :].softmax(dim=-1)


class PixelsAndLabels(SpaceChoice):
    """Searches pixels and labels together; see `PixelAndLabelSpace`.

    Labels read off the update are ignored. Candidates are evaluated one by one.
    """

    searches_labels = True

    def space(self, target: Target, stage: int, reached: Reached | None) -> PixelAndLabelSpace:
        """See `SpaceChoice.space`."""
        classes = target.classifier.layer.out_features
        return PixelAndLabelSpace(target.image_shape, target.device, classes)
