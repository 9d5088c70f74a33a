"""The ImageNet data module: images in [-1, 1] from one folder per class."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ggl_lightning.data.class_folders import ClassFolders
from ggl_lightning.data.image_files import check_image
from ggl_lightning.data.imagenet_layout import (
    FOLDER_OF_SPLIT,
    check_imagenet_split,
)
from ggl_lightning.data.split_loaders import SPLITS, SplitLoaders
from ggl_lightning.errors import UserError, check_choice, check_positive
from ggl_lightning.user_paths import user_path

SMALLEST_IMAGE = 8


class ImageNetDataModule(SplitLoaders):
    """ImageNet, or any images in one folder per class, from a folder of the user's.

    The layout is that of torchvision's ``ImageNet`` and ``ImageFolder``: ``train/<class>/`` and
    ``val/<class>/``. The split ``train`` is ``train``; ``valid`` and ``test`` are both ``val``.
    A class's index is its folder's place in alphabetical order, as in torchvision: with ImageNet's
    1000 folders that is the usual order of the 1000 classes. What file systems and programs put
    beside the data (names with a leading dot, ``@eaDir``, ``__MACOSX``, ...) is no class or image.

    A batch is ``(images, labels)``: float32 ``(B, 3, image_size, image_size)`` in ``[-1, 1]`` and
    int64 ``(B,)`` in ``[0, num_classes)``. Images go through Resize of the shorter side to
    ``image_size`` and CenterCrop. Nothing is downloaded.

    Args:
        root: The folder that holds ``train`` and ``val``; one of them is enough for what reads
            no other.
        image_size: Height and width of the images, at least 8 pixels.
        num_classes: How many class folders there must be. A partial copy of ImageNet must keep all
            1000, empty ones too, or its labels would not be ImageNet's. None for any number.
        batch_size: Images per batch.
        num_workers: Processes that load batches; 0 loads them in the main process.
        pin_memory: Whether batches lie in pinned memory, for quicker copies to a GPU.
        persistent_workers: Whether workers live on between epochs; without workers, no effect.
        drop_last: Whether training drops the last, smaller batch. Validation and test never do.

    Raises:
        UserError: If a setting is out of range; from `setup` and `dataset`, if ``root`` does not
            hold the split, or it has no images; while reading, if an image cannot be decoded.
    """

    def __init__(
        self,
        root: str | Path,
        image_size: int = 224,
        num_classes: int | None = 1000,
        batch_size: int = 64,
        num_workers: int = 0,
        pin_memory: bool = False,
        persistent_workers: bool = True,
        drop_last: bool = True,
    ) -> None:
        super().__init__(batch_size, num_workers, pin_memory, persistent_workers, drop_last)
        if image_size < SMALLEST_IMAGE:
            raise UserError(f"image_size is {image_size}: it must be at least {SMALLEST_IMAGE}.")
        if num_classes is not None:
            check_positive("num_classes", num_classes)
        self.root = user_path("root", root)
        self.image_size = image_size
        self.num_classes = num_classes
        self._folders: dict[str, ClassFolders] = {}

    def dataset(self, split: str) -> ClassFolders:
        """One split for random access; its files are listed on first use.

        Args:
            split: ``train``, ``valid`` or ``test``.

        Returns:
            A dataset with ``len()`` whose item ``i`` is ``(image, label)``: float32
            ``(3, image_size, image_size)`` in ``[-1, 1]``, and an int. Images are in the order of
            their class folders, then of their paths.

        Raises:
            UserError: If the split is unknown, the root does not hold it, or it has no images.
        """
        check_choice("split", split, SPLITS)
        name = FOLDER_OF_SPLIT[split]
        if name not in self._folders:
            folder = check_imagenet_split(self.root, split, self.num_classes)
            self._folders[name] = ClassFolders(folder, self.image_size)
        return self._folders[name]

    def labels(self, split: str) -> Tensor:
        """See `ImageDataModule.labels`; no image is read."""
        return torch.tensor(self.dataset(split).targets)

    def check_image(self, split: str, index: int) -> None:
        """See `ImageDataModule.check_image`; looks at the file's header and end."""
        check_image(self.dataset(split).samples[index][0])
