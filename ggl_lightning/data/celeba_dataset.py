"""One split of CelebA, read from a checked root."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ggl_lightning.data.celeba_layout import SPLITS, CelebARoot, image_files
from ggl_lightning.data.image_files import open_image
from ggl_lightning.data.image_transform import image_pixels, to_signed_range
from ggl_lightning.errors import UserError, check_choice


class CelebAFaces(Dataset[tuple[Tensor, Tensor]]):
    """One split of CelebA, or of a stand-in tree.

    Not torchvision's ``CelebA``, which needs lists that nothing here reads, in one layout, and
    compares them with the published files' MD5 sums, which no stand-in can have.

    Item ``i`` is ``(image, label)``: float32 ``(3, image_size, image_size)`` in ``[-1, 1]`` after
    Resize and CenterCrop, and an int64 scalar in ``{0, 1}``.

    Args:
        root: A root that passed `check_celeba_root`.
        split: ``train``, ``valid`` or ``test``.
        target_index: The attribute that is the label, 0 to 39.
        image_size: Height and width of the images, in pixels.

    Attributes:
        folder: Where the image files are.
        files: Their names, in the order of the partition list.
        labels: Their labels: int64 ``(N,)``.

    Raises:
        UserError: If the split is unknown, has no images, or lacks some.
    """

    def __init__(
        self,
        root: CelebARoot,
        split: str,
        target_index: int,
        image_size: int,
    ) -> None:
        check_choice("split", split, SPLITS)
        rows = (root.splits == SPLITS.index(split)).nonzero()[0]
        if len(rows) == 0:
            raise UserError(
                f"the {split} split of {root.partition_file.parent} has no images: no row of "
                f"{root.partition_file.name} is {SPLITS.index(split)}."
            )
        self.folder = root.image_folder
        self.files = image_files(root, [root.names[row] for row in rows], split)
        self.labels = torch.from_numpy(root.attributes[rows, target_index])
        self._to_pixels = image_pixels(image_size)

    def path(self, index: int) -> Path:
        """The file of an image."""
        return self.folder / self.files[index]

    def pixels(self, index: int) -> Tensor:
        """An image as bytes: uint8 ``(3, image_size, image_size)``."""
        return self._to_pixels(open_image(self.path(index)))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return to_signed_range(self.pixels(index)), self.labels[index]
