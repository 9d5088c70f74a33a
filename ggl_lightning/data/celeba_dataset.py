"""torchvision's CelebA, reading a checked root, with errors that name the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torchvision.datasets import CelebA
from torchvision.datasets.celeba import CSV

from ggl_lightning.data.celeba_layout import (
    ATTRIBUTES,
    IMAGE_FOLDER,
    PARTITION_FILE,
    SPLITS,
    CelebARoot,
)
from ggl_lightning.data.image_files import open_image
from ggl_lightning.errors import UserError, check_choice


class CelebAFaces(CelebA):
    """One split of CelebA, or of a stand-in tree in the same layout.

    torchvision's own integrity check compares MD5 sums with the published files, which no
    stand-in can have, so `check_celeba_root` takes its place. That check has read
    the list files already; they are not read again.

    Item ``i`` is ``(transform(image), target_transform(attributes))`` with ``attributes`` an
    int64 tensor ``(40,)`` in ``{0, 1}``.

    Args:
        root: A root that passed `check_celeba_root`.
        split: ``train``, ``valid`` or ``test``.
        transform: Applied to the PIL image.
        target_transform: Applied to the attributes.

    Raises:
        UserError: If the split is unknown or has no images.
    """

    filename: list[str]

    def __init__(
        self,
        root: CelebARoot,
        split: str,
        transform: Callable[[Image.Image], Any] | None = None,
        target_transform: Callable[[torch.Tensor], Any] | None = None,
    ) -> None:
        check_choice("split", split, SPLITS)
        rows = (root.values[PARTITION_FILE][:, 0] == SPLITS.index(split)).nonzero()[0]
        if len(rows) == 0:
            raise UserError(
                f"the {split} split of {root.folder} has no images: "
                f"no row of {PARTITION_FILE} is {SPLITS.index(split)}."
            )
        self._checked = root  # for _load_csv only
        # torchvision joins root and base_folder; the checked folder may have any name.
        self.base_folder = ""
        # "all", because torchvision fails to select a split of exactly one image.
        super().__init__(
            root.folder, split="all", transform=transform, target_transform=target_transform
        )
        self.split = split
        self.filename = [self.filename[row] for row in rows]
        for table in ("identity", "bbox", "landmarks_align", "attr"):
            setattr(self, table, getattr(self, table)[rows])
        del self._checked

    def _check_integrity(self) -> bool:
        return True

    def _load_csv(self, filename: str, header: int | None = None) -> CSV:
        values = torch.from_numpy(self._checked.values[filename])
        return CSV(list(ATTRIBUTES), self._checked.names, values)

    def path(self, index: int) -> Path:
        """The file of an image."""
        return Path(self.root, IMAGE_FOLDER, self.filename[index])

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        # Not torchvision's own, which opens files of any format.
        image: Any = open_image(self.path(index))
        if self.transform is not None:
            image = self.transform(image)
        attributes = self.attr[index]
        if self.target_transform is not None:
            attributes = self.target_transform(attributes)
        return image, attributes
