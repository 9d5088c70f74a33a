"""Clients that the audit makes itself, of private images of a split."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ggl_lightning.audit.plan.sources.base import Source


class SimulatedClient(Source):
    """A client that holds some images of a split, and follows the audit's procedure and defense.

    Args:
        split: The split.
        labels: All of its labels.
        indices: Which of its images the client holds.
    """

    def __init__(self, split: Dataset, labels: Tensor, indices: tuple[int, ...]) -> None:
        self.name = name_of_images(indices)
        self.indices = indices
        self._split = split
        self._labels = labels

    @property
    def count(self) -> int:
        """See `Source.count`."""
        return len(self.indices)

    def images(self) -> Tensor:
        """See `Source.images`."""
        return torch.stack([self._split[index][0] for index in self.indices])

    def labels(self) -> Tensor:
        """See `Source.labels`."""
        return self._labels[list(self.indices)]


def name_of_images(indices: tuple[int, ...]) -> str:
    """How a client is called that holds images of a split: by the first, and how many."""
    name = f"image{indices[0]:06d}"
    return name if len(indices) == 1 else f"{name}x{len(indices)}"
