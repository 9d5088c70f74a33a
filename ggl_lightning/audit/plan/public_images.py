"""Images that an attacker has of the same kind as the private ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ggl_lightning.data.base import ImageDataModule
from ggl_lightning.errors import UserError, check_choice
from ggl_lightning.image_range import to_unit_range
from ggl_lightning.tensor_hash import hash_tensors

NO_RANDOM_IMAGES = "there is neither a prior nor are there public images (data.public)"
"""Why nothing stands for chance."""

_SPLITS = ("train", "valid", "test")
_SHOWN = 5


class PublicImages:
    """Public images of an audit: a split of an image data module.

    Attacks that learn before they attack learn from these, and without a prior some of them stand
    for chance. They must be of the private images'
    size, and none of them may be private.

    Args:
        images: Where they come from.
        split: ``train``, ``valid`` or ``test``.

    Raises:
        UserError: If there is no such split.
    """

    def __init__(self, images: ImageDataModule, split: str = "train") -> None:
        check_choice("split of the public images", split, _SPLITS)
        self.images = images
        self.split = split
        self._read: dict[int, Tensor] = {}

    def open(self) -> None:
        """Makes the split ready.

        Raises:
            UserError: If it cannot be had.
        """
        self.images.prepare_data()
        self.images.open_split(self.split)

    def __len__(self) -> int:
        return len(self.images.dataset(self.split))  # type: ignore[arg-type]

    def __call__(self, count: int) -> Tensor:
        """Images of the split, spread over it evenly, always the same.

        Args:
            count: How many at most.

        Returns:
            ``(M, 3, H, W)`` in ``[-1, 1]``.
        """
        if count not in self._read:
            dataset = self.images.dataset(self.split)
            self._read[count] = torch.stack([dataset[i][0] for i in self.indices(count)])
        return self._read[count]

    def indices(self, count: int) -> list[int]:
        """Which of the split's images are taken, ascending."""
        whole = len(self)
        taken = min(count, whole)
        return [i * whole // taken for i in range(taken)]

    def problems(
        self, count: int, image_size: int, private: Sequence[tuple[str, Tensor]]
    ) -> list[str]:
        """What keeps them from being used, in words for the user.

        Args:
            count: How many will be asked for at most.
            image_size: Height and width that they must have.
            private: Private images ``(3, H, W)``, each with what it is called.
        """
        if len(self) == 0:
            return [f"The {self.split} split of the public images is empty: name another."]
        found = self.images.problems(self.split, self.indices(count))
        if found:
            return [f"Public images: {problem}" for problem in found]
        images = self(count)
        expected = (3, image_size, image_size)
        if tuple(images.shape[1:]) != expected:
            return [
                f"Public images have shape {tuple(images.shape[1:])}, but attacks look for "
                f"images of {expected}: give public images of that size (data.public)."
            ]
        if not bool(torch.isfinite(images).all()) or float(images.abs().max()) > 1.001:
            return ["Public images have values that are not in [-1, 1]: mend their data module."]
        public = {_content(image) for image in images}
        both = [name for name, image in private if _content(image) in public]
        if both:
            more = f" and {len(both) - _SHOWN} more" if len(both) > _SHOWN else ""
            return [
                f"Private images are among the public ones: {', '.join(both[:_SHOWN])}{more}. "
                "What an attacker has already cannot leak: give public images of other people "
                "(data.public), or other private ones (data.idx, data.split)."
            ]
        return []

    def key(self, count: int) -> str:
        """What stands for the images in keys."""
        return hash_tensors({"public": self(count)})


def default_public(images: ImageDataModule | None, split: str) -> PublicImages | None:
    """The train split of where private images come from, unless they are of it.

    Args:
        images: Where private images come from, if from anywhere.
        split: The split they are taken from.
    """
    return None if images is None or split == "train" else PublicImages(images)


def opened(public: PublicImages) -> PublicImages:
    """The same once its split is open, with an error that says whose it is.

    Raises:
        UserError: If it cannot be had.
    """
    try:
        public.open()
    except UserError as error:
        raise UserError(f"The public images cannot be read. {error}") from error
    return public


def _content(image: Tensor) -> str:
    """What an image is as 8-bit pixels, which is how files hold it."""
    return hash_tensors({"image": (to_unit_range(image.cpu()) * 255).round().byte()})
