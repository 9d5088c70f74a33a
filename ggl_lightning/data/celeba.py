"""The CelebA data module: faces in [-1, 1] with one binary attribute as the label."""

from __future__ import annotations

import operator
from pathlib import Path

from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import Compose

from ggl_lightning.data.base import ImageDataModule
from ggl_lightning.data.celeba_dataset import CelebAFaces
from ggl_lightning.data.celeba_layout import (
    ATTRIBUTES,
    IMAGE_FOLDER,
    SPLITS,
    CelebARoot,
    check_celeba_root,
)
from ggl_lightning.data.face_transform import face_pixels, to_signed_range
from ggl_lightning.data.pixel_cache import CachedFaces, build_pixel_cache, fingerprint
from ggl_lightning.errors import UserError, check_choice, check_non_negative, check_positive

SMALLEST_IMAGE = 8
LARGEST_IMAGE = 178  # the width of CelebA's aligned images: beyond it, pixels would be invented

_SPLITS_OF_STAGE = {
    "fit": ("train", "valid"),
    "validate": ("valid",),
    "test": ("test",),
    "predict": (),
    None: SPLITS,
}


class CelebADataModule(ImageDataModule):
    """CelebA, or a stand-in tree in the same layout, from a folder of the user's.

    A batch is ``(images, labels)``: float32 ``(B, 3, image_size, image_size)`` in ``[-1, 1]`` and
    int64 ``(B,)`` in ``{0, 1}``. Images go through Resize and CenterCrop. Nothing is downloaded.

    Args:
        root: The folder that holds ``celeba/`` (or that folder itself).
        image_size: Height and width of the images, 8 to 178 pixels.
        target_attribute: The attribute that is the label, by name or by index (0 to 39).
        batch_size: Images per batch.
        num_workers: Processes that load batches; 0 loads them in the main process.
        pin_memory: Whether batches lie in pinned memory, for quicker copies to a GPU.
        persistent_workers: Whether workers live on between epochs; without workers, no effect.
        drop_last: Whether training drops the last, smaller batch. Validation and test never do.
        cache_dir: A folder for decoded images, built on the first run and reused as long as the
            image files, ``image_size`` and the transform stay the same; None decodes every time.

    Raises:
        UserError: If a setting is out of range; from `prepare_data`, `setup` and `dataset`, if
            ``root`` is incomplete, a split is empty or the cache cannot be written; while
            reading, if an image cannot be decoded.
    """

    def __init__(
        self,
        root: str | Path,
        image_size: int = 32,
        target_attribute: str | int = "Male",
        batch_size: int = 64,
        num_workers: int = 0,
        pin_memory: bool = False,
        persistent_workers: bool = True,
        drop_last: bool = True,
        cache_dir: str | Path | None = None,
    ) -> None:
        super().__init__()
        if not SMALLEST_IMAGE <= image_size <= LARGEST_IMAGE:
            raise UserError(
                f"image_size is {image_size}: it must be {SMALLEST_IMAGE} to {LARGEST_IMAGE}."
            )
        check_positive("batch_size", batch_size)
        check_non_negative("num_workers", num_workers)
        self.root = Path(root).expanduser()
        self.image_size = image_size
        self.target_index = attribute_index(target_attribute)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.persistent_workers = persistent_workers
        self.drop_last = drop_last
        self.cache_dir = None if cache_dir is None else Path(cache_dir).expanduser()
        self._checked_root: CelebARoot | None = None
        self._datasets: dict[str, CelebAFaces | CachedFaces] = {}

    def prepare_data(self) -> None:
        """Checks the files and builds missing caches; Lightning calls it on one process a node."""
        self._check_root()
        if self.trainer is not None:
            self.setup(self.trainer.state.fn)

    def setup(self, stage: str | None = None) -> None:
        """Opens the splits that the stage reads.

        Args:
            stage: ``fit``, ``validate``, ``test``, ``predict``, or None for all splits.
        """
        for split in _SPLITS_OF_STAGE[stage]:
            self.dataset(split)

    def dataset(self, split: str) -> CelebAFaces | CachedFaces:
        """One split for random access; opened on first use, its cache built if it is missing.

        Args:
            split: ``train``, ``valid`` or ``test``.

        Returns:
            A dataset with ``len()`` whose item ``i`` is ``(image, label)``: float32
            ``(3, image_size, image_size)`` in ``[-1, 1]``, and an int64 scalar in ``{0, 1}``.

        Raises:
            UserError: If the root is incomplete, the split unknown or empty, or the cache cannot
                be written.
        """
        check_choice("split", split, SPLITS)
        if split not in self._datasets:
            self._datasets[split] = self._open(split)
        return self._datasets[split]

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """The train split, shuffled."""
        count = len(self.dataset("train"))
        if self.drop_last and count < self.batch_size:
            raise UserError(
                f"batch_size is {self.batch_size}, but the train split of {self.root} has only "
                f"{count} images: lower batch_size, or set drop_last to false."
            )
        return self._loader("train", shuffle=True, drop_last=self.drop_last)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """The valid split, in order."""
        return self._loader("valid")

    def test_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """The test split, in order."""
        return self._loader("test")

    def _loader(
        self, split: str, shuffle: bool = False, drop_last: bool = False
    ) -> DataLoader[tuple[Tensor, Tensor]]:
        return DataLoader(
            self.dataset(split),
            batch_size=self.batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            persistent_workers=self.persistent_workers and self.num_workers > 0,
        )

    def _check_root(self) -> CelebARoot:
        if self._checked_root is None:
            self._checked_root = check_celeba_root(self.root)
        return self._checked_root

    def _open(self, split: str) -> CelebAFaces | CachedFaces:
        root = self._check_root()
        to_pixels = face_pixels(self.image_size)
        label = operator.itemgetter(self.target_index)
        if self.cache_dir is None:
            return CelebAFaces(root, split, Compose([to_pixels, to_signed_range]), label)

        pixels = CelebAFaces(root, split, to_pixels, label)
        key = fingerprint(root.folder / IMAGE_FOLDER, pixels.filename, self.image_size)
        path = self.cache_dir / f"celeba-{split}-{self.image_size}px-{key[:16]}.npy"
        if not path.exists():
            build_pixel_cache(path, lambda i: pixels[i][0], len(pixels), self.image_size)
        return CachedFaces(path, pixels.attr[:, self.target_index])


def attribute_index(attribute: str | int) -> int:
    """The column of a CelebA attribute.

    Args:
        attribute: A name, e.g. ``Male``, or an index; an index may come as text, as from a
            command line.

    Returns:
        Its index, 0 to 39.

    Raises:
        UserError: If there is no such attribute.
    """
    try:
        index = int(attribute)
    except ValueError:
        check_choice("target_attribute", str(attribute), ATTRIBUTES)
        return ATTRIBUTES.index(str(attribute))
    if not 0 <= index < len(ATTRIBUTES):
        raise UserError(
            f"target_attribute is {index}: an index must be 0 to {len(ATTRIBUTES) - 1}."
        )
    return index
