"""From the range images are computed in to the range they are shown in."""

from __future__ import annotations

from torch import Tensor


def to_unit_range(images: Tensor) -> Tensor:
    """Maps images from ``[-1, 1]`` to ``[0, 1]``, of any shape; values beyond are cut off."""
    return (images * 0.5 + 0.5).clamp(0, 1)
