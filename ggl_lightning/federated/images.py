"""The images of a federated training, held in memory."""

from __future__ import annotations

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


def load_images(
    dataset: Dataset, at_most: int | None, rng: np.random.Generator, what: str
) -> LabelledImages:
    """Reads a random part of a dataset into memory.

    Args:
        dataset: Has a length; item ``i`` is ``(image, label)``, ``(3, H, W)`` in ``[-1, 1]`` and an
            int.
        at_most: How many images; of a dataset with fewer, and for None, all.
        rng: Chooses them; every subset of that size is as likely.
        what: What the dataset is called in an error, e.g. ``train``.

    Returns:
        The images, in the dataset's order.

    Raises:
        UserError: If the dataset is empty.
    """
    count = len(dataset)  # type: ignore[arg-type]
    if count == 0:
        raise UserError(
            f"The {what} split has no images: federated training needs some to train on and some "
            "others to test on."
        )
    if at_most is not None and at_most < count:
        indices = np.sort(rng.choice(count, at_most, replace=False)).tolist()
        dataset = Subset(dataset, indices)
    # A loader without a generator of its own draws from the global one, even in order.
    loader = DataLoader(dataset, batch_size=_IMAGES_AT_ONCE, generator=torch.Generator())
    batches = list(loader)
    return LabelledImages(
        images=torch.cat([images for images, _ in batches]),
        labels=torch.cat([labels for _, labels in batches]).long(),
    )
