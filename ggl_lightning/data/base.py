"""What every source of labelled images offers, beyond Lightning's dataloaders."""

from __future__ import annotations

from abc import ABC, abstractmethod

import pytorch_lightning as pl
from torch.utils.data import Dataset


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
