"""What every source of labelled images offers, beyond Lightning's dataloaders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ggl_lightning.problems import Problems


class ImageDataModule(pl.LightningDataModule, ABC):
    """A data module whose splits can also be read image by image.

    Attributes:
        image_size: Height and width of the images, in pixels.
    """

    image_size: int

    @abstractmethod
    def dataset(self, split: str) -> Dataset:
        """A split's images, after `setup`.

        Args:
            split: ``train``, ``valid`` or ``test``.

        Returns:
            A dataset with a length, of ``(image, label)``: float ``(3, image_size, image_size)``
            in ``[-1, 1]``, and an int.
        """

    def problems(self, split: str, indices: Sequence[int]) -> list[str]:
        """What is wrong of images of a split, after `setup`, for all that can be told cheaply.

        Sources of files override this: most faults of a file show without decoding its pixels.

        Args:
            split: ``train``, ``valid`` or ``test``.
            indices: Which images.

        Returns:
            Texts for the user, one for each image that cannot be read.
        """
        images = self.dataset(split)
        problems = Problems()
        for index in indices:
            problems.of(partial(images.__getitem__, index))
        return list(problems)

    def labels(self, split: str) -> Tensor:
        """The labels of all of a split's images, after `setup`: ``(count,)``, int64.

        Sources that know their labels without reading images override this.

        Args:
            split: ``train``, ``valid`` or ``test``.
        """
        images = self.dataset(split)
        return torch.tensor([int(images[i][1]) for i in range(len(images))])  # type: ignore[arg-type]
