"""Images among which the private image of a recorded update is to be identified."""

from __future__ import annotations

from torch import Tensor

from ggl_lightning.tensor_hash import hash_tensors


class Lineup:
    """Decoys of a record's private images: all images of a lineup that are not the image itself.

    Args:
        images: The lineup ``(M, 3, H, W)`` in ``[-1, 1]``; None if there is none.
        private: The record's private images ``(N, 3, H, W)``, likewise; None if they are not known.

    Attributes:
        reason: Why there are no decoys, if there are none.
    """

    reason = "no lineup: name a folder of images under data.lineup"

    def __init__(self, images: Tensor | None = None, private: Tensor | None = None) -> None:
        self._images = images
        self._private = private

    def decoy_indices(self, index: int) -> list[int]:
        """Places in the lineup of the decoys of one private image.

        Args:
            index: Which of the record's private images.
        """
        if self._images is None or self._private is None:
            return []
        same = (self._images == self._private[index]).flatten(1).all(dim=1)
        return (~same).nonzero()[:, 0].tolist()

    def decoys(self, index: int) -> Tensor:
        """The decoys of one private image, ``(decoys, 3, H, W)`` in ``[-1, 1]``."""
        assert self._images is not None
        return self._images[self.decoy_indices(index)]

    def content_hash(self) -> str | None:
        """What stands for the lineup in keys."""
        return None if self._images is None else hash_tensors({"lineup": self._images})
