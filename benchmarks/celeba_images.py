"""Images of CelebA that benchmarks are run on."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ggl_lightning.data.base import ImageDataModule
from ggl_lightning.data.celeba import CelebADataModule

ATTRIBUTE = "Male"
"""The client model's task in the published audit (attribute 20 of CelebA's list)."""


def spread_images(
    root: str | Path, split: str, count: int, size: int = 32
) -> tuple[Tensor, Tensor]:
    """Images spread evenly over a split, so that many people are among them.

    Args:
        root: CelebA's folder.
        split: ``train``, ``valid`` or ``test``.
        count: How many at most.
        size: Their height and width, in pixels.

    Returns:
        Images ``(N, 3, size, size)`` in ``[-1, 1]``, and their labels ``(N,)``.
    """
    return spread(
        CelebADataModule(root=root, image_size=size, target_attribute=ATTRIBUTE), split, count
    )


def spread_places(total: int, count: int) -> list[int]:
    """Places of ``count`` of ``total`` things, evenly spread from the first to the last."""
    return torch.linspace(0, total - 1, count).round().long().tolist()


def spread(data: ImageDataModule, split: str, count: int) -> tuple[Tensor, Tensor]:
    """Images of any data module, spread evenly over a split; see `spread_images`.

    Args:
        data: The data module.
        split: ``train``, ``valid`` or ``test``.
        count: How many at most.
    """
    data.open_split(split)
    images = data.dataset(split)
    total = len(images)  # type: ignore[arg-type]
    places = spread_places(total, min(count, total))
    found = [images[place] for place in places]
    return torch.stack([image for image, _ in found]), torch.tensor([int(y) for _, y in found])
