"""How a stored image becomes a tensor: the same steps whether it comes from a JPEG or the cache."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import CenterCrop, Compose, PILToTensor, Resize

TRANSFORM_VERSION = 2
"""Counts changes of `open_image` and `image_pixels`, which decide what a cache of pixels holds."""


def image_pixels(image_size: int) -> Compose:
    """The transform from an image, as `open_image` reads it, to bytes: Resize, CenterCrop.

    Args:
        image_size: Height and width of the result, in pixels.

    Returns:
        A transform from a PIL image in RGB to a uint8 tensor ``(3, image_size, image_size)`` in
        ``[0, 255]``.
    """
    return Compose([Resize(image_size), CenterCrop(image_size), PILToTensor()])


def to_signed_range(pixels: Tensor) -> Tensor:
    """Maps bytes to the range of all images here: mean 0.5 and std 0.5 normalisation.

    Args:
        pixels: uint8 on the CPU, any shape, in ``[0, 255]``.

    Returns:
        float32 of the same shape, in ``[-1, 1]``; both ends are reached exactly.
    """
    # By numpy: torch would spread this little work over threads, and waiting for them costs more.
    values = pixels.numpy().astype(np.float32)
    values /= 127.5
    values -= 1.0
    return torch.from_numpy(values)
