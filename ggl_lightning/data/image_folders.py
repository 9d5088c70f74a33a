"""Ordinary images in one folder per class, with three splits that share no image."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ggl_lightning.data.class_folders import ClassFolders
from ggl_lightning.data.image_files import check_image
from ggl_lightning.data.imagenet_layout import class_folder_problems
from ggl_lightning.data.split_loaders import SPLITS, SplitLoaders
from ggl_lightning.errors import UserError, check_choice, check_positive
from ggl_lightning.user_paths import user_path

SMALLEST_IMAGE = 8
_PARTS = {"valid": 0, "test": 1}  # of the folder ``val``, where there is no folder ``test``


class ImageFolderDataModule(SplitLoaders):
    """Images of any kind and size, in one folder per class.

    ``train/<class>/`` is the split ``train``. With a folder ``test``, ``val/<class>/`` is ``valid``
    and ``test/<class>/`` is ``test``. Without one, ``val`` is shared by both: of the images of each
    class, in the order of their paths, the first, third, fifth ... are ``valid``, the second,
    fourth ... ``test``. (`ImageNetDataModule` takes all of ``val`` for both, as published audits
    do.)

    A class's index is its folder's place in alphabetical order, so all splits must have the same
    folders; some may be empty. What file systems and programs put beside the data (names with a
    leading dot, ``@eaDir``, ``__MACOSX``, ...) is no class or image.

    A batch is ``(images, labels)``: float32 ``(B, 3, image_size, image_size)`` in ``[-1, 1]`` and
    int64 ``(B,)``. Images go through Resize of the shorter side to ``image_size`` and CenterCrop.

    Args:
        root: The folder that holds ``train``, ``val`` and, if there is one, ``test``; those that
            are read are enough.
        image_size: Height and width of the images, at least 8 pixels.
        num_classes: How many class folders there must be; None for any number.
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
        image_size: int = 32,
        num_classes: int | None = None,
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
        self._splits: dict[str, ClassFolders] = {}

    def dataset(self, split: str) -> ClassFolders:
        """One split for random access; its files are listed on first use.

        Args:
            split: ``train``, ``valid`` or ``test``.

        Returns:
            A dataset with ``len()`` whose item ``i`` is ``(image, label)``: float32
            ``(3, image_size, image_size)`` in ``[-1, 1]``, and an int. Images are in the order of
            their class folders, then of their paths. ``classes`` has the folders' names.

        Raises:
            UserError: If the split is unknown, the root does not hold it, or it has no images.
        """
        check_choice("split", split, SPLITS)
        if split not in self._splits:
            self._splits[split] = self._open(split)
        return self._splits[split]

    def labels(self, split: str) -> Tensor:
        """See `ImageDataModule.labels`; no image is read."""
        return torch.tensor(self.dataset(split).targets)

    def check_image(self, split: str, index: int) -> None:
        """See `ImageDataModule.check_image`; looks at the file's header and end."""
        check_image(self.dataset(split).samples[index][0])

    def _open(self, split: str) -> ClassFolders:
        shared = split in _PARTS and not (self.root / "test").is_dir()
        name = "train" if split == "train" else "test" if split == "test" and not shared else "val"
        problems = class_folder_problems(self.root, name, self.num_classes)
        if problems:
            listing = "".join(f"\n  - {problem}" for problem in problems)
            raise UserError(
                f"{self.root} does not hold the {split} split in folders of classes:{listing}\n"
                f"Expected: {self.root / name} with one folder of images per class, e.g. "
                f"{name}/cat/*.jpg."
            )
        images = ClassFolders(self.root / name, self.image_size)
        if not shared:
            return images
        counted = [0] * len(images.classes)
        kept = []
        for place, label in enumerate(images.targets):
            if counted[label] % len(_PARTS) == _PARTS[split]:
                kept.append(place)
            counted[label] += 1
        if not kept:
            raise UserError(
                f"The {split} split is every second image of each class in {self.root / name}, and "
                f"no class there has two: add images, or a folder {self.root / 'test'}."
            )
        images.keep(kept)
        return images
