"""The CelebA data module: faces in [-1, 1] with one binary attribute as the label."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ggl_lightning.data.celeba_dataset import CelebAFaces
from ggl_lightning.data.celeba_layout import ATTRIBUTES, CelebARoot, check_celeba_root
from ggl_lightning.data.image_files import check_image
from ggl_lightning.data.pixel_cache import CachedFaces, build_pixel_cache, fingerprint
from ggl_lightning.data.split_loaders import SPLITS, SplitLoaders
from ggl_lightning.errors import UserError, check_choice
from ggl_lightning.user_paths import user_path

SMALLEST_IMAGE = 8
LARGEST_IMAGE = 178  # the width of CelebA's aligned images: beyond it, pixels would be invented


class CelebADataModule(SplitLoaders):
    """CelebA, or a stand-in tree in the same layout, from a folder of the user's.

    A batch is ``(images, labels)``: float32 ``(B, 3, image_size, image_size)`` in ``[-1, 1]`` and
    int64 ``(B,)`` in ``{0, 1}``. Images go through Resize and CenterCrop. Nothing is downloaded.

    Args:
        root: The folder that holds ``celeba/`` (or that folder itself), as torchvision, CelebA's
            authors or Kaggle arrange it.
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
        self.root = user_path("root", root)
        self.image_size = image_size
        self.target_index = attribute_index(target_attribute)
        self.cache_dir = None if cache_dir is None else user_path("cache_dir", cache_dir)
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
        check_choice("split", split, SPLITS)
        return (self._datasets.get(split) or self._faces(split)).labels

    def check_image(self, split: str, index: int) -> None:
        """See `ImageDataModule.check_image`; looks at the file's header and end.

        With a cache all is well: every image was read when it was built.
        """
        faces = self.dataset(split)
        if isinstance(faces, CelebAFaces):
            check_image(faces.path(index))

    def _check_root(self) -> CelebARoot:
        if self._checked_root is None:
            self._checked_root = check_celeba_root(self.root)
        return self._checked_root

    def _open(self, split: str) -> CelebAFaces | CachedFaces:
        faces = self._faces(split)
        if self.cache_dir is None:
            return faces
        key = fingerprint(faces.folder, faces.files, self.image_size)
        path = self.cache_dir / f"celeba-{split}-{self.image_size}px-{key[:16]}.npy"
        if not path.exists():
            build_pixel_cache(path, faces.pixels, len(faces), self.image_size)
        return CachedFaces(path, faces.labels)

    def _faces(self, split: str) -> CelebAFaces:
        return CelebAFaces(self._check_root(), split, self.target_index, self.image_size)


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
