"""A small data module of this package's kind, for tests in this folder and their processes."""

import os

import torch
from torch.utils.data import Dataset, TensorDataset

from ggl_lightning.data.split_loaders import SplitLoaders
from ggl_lightning.errors import UserError


class TinySplits(SplitLoaders):
    """Random images, with every class among them.

    Args:
        count: Images of the train split.
        valid: Images of the valid split.
        classes: Labels are 0 up to this.
        unreadable_on_rank: The rank that cannot read its images.
    """

    def __init__(
        self,
        image_size: int = 32,
        count: int = 24,
        valid: int = 8,
        classes: int = 2,
        batch_size: int = 4,
        drop_last: bool = True,
        unreadable_on_rank: int | None = None,
    ) -> None:
        super().__init__(batch_size, drop_last=drop_last)
        self.image_size = image_size
        self.count = count
        self.valid = valid
        self.classes = classes
        self.unreadable_on_rank = unreadable_on_rank

    def dataset(self, split: str) -> Dataset:
        count = self.count if split == "train" else self.valid
        noise = torch.Generator().manual_seed(count)
        images = torch.rand(count, 3, self.image_size, self.image_size, generator=noise) * 2 - 1
        images = TensorDataset(images, torch.arange(count) % self.classes)
        if str(self.unreadable_on_rank) == os.environ.get("LOCAL_RANK", "0"):
            return _Unreadable(images)
        return images

    def labels(self, split: str) -> torch.Tensor:
        return torch.arange(self.count if split == "train" else self.valid) % self.classes


class _Unreadable(Dataset):
    def __init__(self, images: TensorDataset) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple:
        raise UserError("the image cannot be read")


class Unused(torch.nn.Module):
    """A client model with parameters that it never uses."""

    def __init__(self, num_classes: int = 2) -> None:
        super().__init__()
        self.head = torch.nn.Linear(3, num_classes)
        self.spare = torch.nn.Linear(4, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(images.mean(dim=(2, 3)))


class Pair(Unused):
    """A client model that returns its features too."""

    def forward(self, images: torch.Tensor) -> tuple:
        return super().forward(images), images


def tiny_client(num_classes: int = 2) -> torch.nn.Sequential:
    """A client model that a function builds."""
    return torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, num_classes)
    )
