"""The CelebA data module: faces in [-1, 1] with one binary attribute as the label."""

from __future__ import annotations

import operator
from pathlib import Path

from torch import Tensor
from torchvision.transforms import Compose

from ggl_lightning.data.celeba_dataset import CelebAFaces
from ggl_lightning.data.celeba_layout import (
    ATTRIBUTES,
    IMAGE_FOLDER,
    CelebARoot,
    check_celeba_root,
)
from ggl_lightning.data.image_transform import image_pixels, to_signed_range
from ggl_lightning.data.pixel_cache import CachedFaces, build_pixel_cache, fingerprint
from ggl_lightning.data.split_loaders import SPLITS, SplitLoaders
from ggl_lightning.errors import UserError, check_choice

SMALLEST_IMAGE = 8
LARGEST_IMAGE = 178  # the width of CelebA's aligned images: beyond it, pixels would be invented


class CelebADataModule(SplitLoaders):
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
        super().__init__(batch_size, num_workers, pin_memory, persistent_workers, drop_last)
        if not SMALLEST_IMAGE <= image_size <= LARGEST_IMAGE:
            raise UserError(
                f"image_size is {image_size}: it must be {SMALLEST_IMAGE} to {LARGEST_IMAGE}."
            )
        self.root = Path(root).expanduser()
        self.image_size = image_size
        self.target_index = attribute_index(target_attribute)
        self.cache_dir = None if cache_dir is None else Path(cache_dir).expanduser()
        self._checked_root: CelebARoot | None = None
        self._datasets: dict[str, CelebAFaces | CachedFaces] = {}

    def prepare_data(self) -> None:
        """Checks the files and builds missing caches; Lightning calls it on one process a node."""
        self._check_root()
        if self.trainer is not None:
            self.setup(self.trainer.state.fn)

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

    def labels(self, split: str) -> Tensor:
        """See `ImageDataModule.labels`; no image is read, and no cache is built."""
        faces = self._datasets.get(split) or CelebAFaces(self._check_root(), split)
        return faces.labels if isinstance(faces, CachedFaces) else faces.attr[:, self.target_index]

    def _check_root(self) -> CelebARoot:
        if self._checked_root is None:
            self._checked_root = check_celeba_root(self.root)
        return self._checked_root

    def _open(self, split: str) -> CelebAFaces | CachedFaces:
        root = self._check_root()
        to_pixels = image_pixels(self.image_size)
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
