"""What every source of labelled images offers, beyond Lightning's dataloaders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ggl_lightning.data.image_errors import DAMAGED_IMAGE
from ggl_lightning.errors import UserError

_SHOWN = 5  # images that `problems` names


class ImageDataModule(pl.LightningDataModule, ABC):
    """A data module whose splits can also be read image by image.

    Attributes:
        image_size: Height and width of the images, in pixels.
    """

    image_size: int

    def open_split(self, split: str) -> None:
        """Makes one split ready for `dataset`, `labels` and `problems`; others need not exist.

        Sets up the stage that reads the split, unless a source can open splits one by one.

        Args:
            split: ``train``, ``valid`` or ``test``.

        Raises:
            UserError: If the split cannot be had.
        """
        self.setup("test" if split == "test" else "fit")

    @abstractmethod
    def dataset(self, split: str) -> Dataset:
        """A split's images, after `setup` or `open_split`.

        Args:
            split: ``train``, ``valid`` or ``test``.

        Returns:
            A dataset with a length, of ``(image, label)``: float ``(3, image_size, image_size)``
            in ``[-1, 1]``, and an int.
        """

    def labels(self, split: str) -> Tensor:
        """All labels of a split, after `setup` or `open_split`: ``(count,)``, int64.

        Sources that know their labels without reading images override this.

        Args:
            split: ``train``, ``valid`` or ``test``.
        """
        images = self.dataset(split)
        return torch.tensor([int(images[i][1]) for i in range(len(images))])  # type: ignore[arg-type]

    def problems(self, split: str, indices: Sequence[int]) -> list[str]:
        """What keeps some of a split's images from being read, before anything depends on them.

        Every image is checked by `check_image`. Sources of image files look at each file's header
        and end: a file that is missing, empty, cut off, no picture, or of a kind that is not read
        is found without decoding it; damage in the midst of a file is not. Others read the images.

        Args:
            split: ``train``, ``valid`` or ``test``, after `setup` or `open_split`.
            indices: Which of its images; one that occurs several times is checked once.

        Returns:
            A sentence for each of the first five images that cannot be read, and one that counts
            the others; empty if all can.
        """
        found: list[str] = []
        others = 0
        for index in dict.fromkeys(indices):
            try:
                self.check_image(split, index)
            except UserError as error:
                if len(found) < _SHOWN:
                    found.append(f"{str(error).rstrip('.')}.")
                else:
                    others += 1
        if others:
            found.append(f"{others} more images of the {split} split cannot be read.")
        return found

    def check_image(self, split: str, index: int) -> None:
        """Finds out whether one image can be read; by reading it, unless a source is quicker.

        Args:
            split: ``train``, ``valid`` or ``test``, after `setup` or `open_split`.
            index: Which of its images.

        Raises:
            UserError: If it cannot be read.
        """
        try:
            self.dataset(split)[index]
        except DAMAGED_IMAGE as error:
            if isinstance(error, IndexError):
                raise  # no such image: whoever asks for it is wrong
            raise UserError(
                f"image {index} of the {split} split cannot be read: {error}"
            ) from error
