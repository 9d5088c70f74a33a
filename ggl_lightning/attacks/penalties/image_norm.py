"""The norm of images: pixels are not extreme."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ggl_lightning.attacks.penalties.base import Penalty


class ImageNorm(Penalty):
    """Euclidean norm of an image, averaged over a candidate's images.

    The image prior of Yin et al. 2020 (DeepInversion, arXiv 1912.08795) and Yin et al. 2021
    (GradInversion, arXiv 2104.07586, eq. 7).

    Args:
        weight: Its weight; images are in ``[-1, 1]``.

    Raises:
        UserError: If ``weight`` is negative.
    """

    def __call__(self, images: Tensor, model: nn.Module, consensus: Tensor | None) -> Tensor:
        """See `Penalty.__call__`."""
        return torch.linalg.vector_norm(images.flatten(2), dim=2).mean(dim=1)
