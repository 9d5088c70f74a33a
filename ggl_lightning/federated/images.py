"""The images of a federated training, held in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from ggl_lightning.errors import UserError

_IMAGES_AT_ONCE = 256


@dataclass(frozen=True)
class LabelledImages:
    """Images and their labels, as one tensor each.

    Attributes:
        images: ``(N, 3, H, W)`` in ``[-1, 1]``.
        labels: ``(N,)``, int64.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def majority_share(self) -> float:
        """The share of the commonest label: the accuracy of always answering with it."""
        return self.labels.bincount().max().item() / len(self.labels)


@dataclass(frozen=True)
class FederatedImages:
    """What clients train on and what the model is tested on.

    Attributes:
        train: The images that are dealt out to the clients.
        test: The images that accuracy is measured on.
    """

    train: LabelledImages
    test: LabelledImages

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, to tell these images from others by a hash."""
        return {
            "train_images": self.train.images,
            "train_labels": self.train.labels,
            "test_images": self.test.images,
            "test_labels": self.test.labels,
        }


def choose_images(count: int, at_most: int | None, rng: np.random.Generator) -> list[int]:
    """Chooses a random part of a dataset.

    Args:
        count: Images in the dataset.
        at_most: How many to choose; all if there are fewer, and for None.
        rng: Chooses them; every subset of that size is as likely.

    Returns:
        Their indices, ascending.
    """
    if at_most is None or at_most >= count:
        return list(range(count))
    return np.sort(rng.choice(count, at_most, replace=False)).tolist()


def check_not_empty(indices: Sequence[int], what: str) -> None:
    """Raises `UserError` if no images of a dataset were chosen.

    Args:
        indices: Of the chosen images.
        what: What the dataset is called in the error, e.g. ``train``.

    Raises:
        UserError: If there are none.
    """
    if not indices:
        raise UserError(
            f"The {what} split has no images: federated training needs some to train on and some "
            "others to test on."
        )


def load_images(dataset: Dataset, indices: list[int], what: str) -> LabelledImages:
    """Reads a part of a dataset into memory.

    Args:
        dataset: Item ``i`` is ``(image, label)``, ``(3, H, W)`` in ``[-1, 1]`` and an int.
        indices: Which images.
        what: What the dataset is called in an error, e.g. ``train``.

    Returns:
        The images, in that order.

    Raises:
        UserError: If there are none.
    """
    check_not_empty(indices, what)
    # A loader without a generator of its own draws from the global one, even in order.
    loader = DataLoader(
        Subset(dataset, indices), batch_size=_IMAGES_AT_ONCE, generator=torch.Generator()
    )
    batches = list(loader)
    return LabelledImages(
        images=torch.cat([images for images, _ in batches]),
        labels=torch.cat([labels for _, labels in batches]).long(),
    )
