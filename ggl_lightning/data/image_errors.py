"""What happens when an image file cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from ggl_lightning.errors import UserError


class UnreadableImageError(UserError):
    """An image file that cannot be opened or decoded; the message names it."""

    def __init__(self, message: str) -> None:
        # A DataLoader's worker hands its exception over as a formatted traceback, and torch builds
        # this class anew from that text: the user needs only the sentence at its end.
        super().__init__(message.rpartition(f"{type(self).__qualname__}: ")[2].strip())


@contextmanager
def reading_image(path: str | Path) -> Iterator[None]:
    """While an image is opened and decoded: its file is named if that fails.

    Args:
        path: The file.

    Raises:
        UnreadableImageError: If it is missing, cut off, no image, or absurdly large.
    """
    try:
        yield
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:  # what PIL raises
        raise UnreadableImageError(f"cannot read the image {path}: {error}") from error
