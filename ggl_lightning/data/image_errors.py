"""What happens when an image file cannot be read."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from ggl_lightning.errors import UserError

DAMAGED_IMAGE = (
    *(OSError, SyntaxError, ValueError, LookupError, TypeError, OverflowError, EOFError),
    *(MemoryError, struct.error, zlib.error, Image.DecompressionBombError),
)
"""What PIL raises on files that are no images, damaged, or absurdly large."""


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
        UnreadableImageError: If it is missing, empty, cut off, no image, or absurdly large.
    """
    try:
        yield
    except DAMAGED_IMAGE as error:
        raise UnreadableImageError(
            f"cannot read the image {path}: {_reason(error, path)}"
        ) from error


def _reason(error: Exception, path: str | Path) -> str:
    if isinstance(error, UnidentifiedImageError):
        if Path(path).stat().st_size == 0:
            return "the file is empty"
        return "it is no picture of a format that is read, or its beginning is damaged"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
