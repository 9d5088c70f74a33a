"""Image files that somebody else may have written, read as people see them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from ggl_lightning.data.image_errors import DAMAGED_IMAGE, UnreadableImageError, reading_image

FORMATS = ("JPEG", "PNG", "PPM", "BMP", "GIF", "TIFF", "WEBP")
"""Formats that are pixels and nothing else.

PIL goes by a file's content, not by its name, and would have Ghostscript run what is PostScript.
"""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image upright whose EXIF orientation is the key (EXIF 2.32, tag 0x0112)."""

_ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82", "GIF": b"\x3b"}
"""How a file ends that was not cut off; others may end so too, after bytes that mean nothing."""

_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF 6.0
_WHITE_IS_ZERO, _SIGNED = 0, 2


def open_image(path: str | Path) -> Image.Image:
    """Reads an image file: upright, in 8-bit RGB, whatever the file holds.

    Grey of 9 to 16 bits is scaled from the range that the file's format gives it, rounded. EXIF's
    orientation is applied. Transparent pixels are seen on white. Of several pictures in a file
    (animations, pages) the first is read. Colour profiles are not applied.

    Args:
        path: The file.

    Returns:
        Its pixels, mode ``RGB``; those of an upright 8-bit RGB file just as the decoder gives them.

    Raises:
        UnreadableImageError: If it is missing, cut off, of no format in `FORMATS`, absurdly large,
            or holds numbers without saying which of them are black and white.
    """
    with reading_image(path), _opened(path) as image:
        _check_scale(image, path)
        image.load()
        return _upright(_rgb(image, path), image)


def check_image(path: str | Path) -> None:
    """Finds out, much more quickly than by decoding it, whether `open_image` can read a file.

    Looks at the file's header, and at its end, where a file that was cut off lacks what its format
    ends with; only without that is it decoded. Damage in between is not found.

    Args:
        path: The file.

    Raises:
        UnreadableImageError: As `open_image`.
    """
    with reading_image(path), _opened(path) as image:
        _check_scale(image, path)
        end = _ENDS.get(image.format or "")
        if end is not None:
            with Path(path).open("rb") as file:
                file.seek(-min(len(end), Path(path).stat().st_size), 2)
                if file.read() == end:
                    return
    open_image(path)


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    # By a handle: a file known by its path is mapped into memory if it can be, and PIL then takes
    # the rows of a TIFF file that lies on its side for its columns.
    with Path(path).open("rb") as file, Image.open(file, formats=FORMATS) as image:
        yield image


def _check_scale(image: Image.Image, path: str | Path) -> None:
    """Raises if the file does not say which of its numbers are black and white."""
    held = None
    if image.mode == "F":
        held = "floating-point numbers"
    elif image.mode == "I" and image.format != "PPM":  # PIL scales PPM's to 16 bits itself
        held = "signed or 32-bit whole numbers"
    elif _SIGNED in _tiff_values(image, _SAMPLE_FORMAT):
        held = "signed numbers"
    if held is not None:
        raise UnreadableImageError(
            f"cannot read the image {path}: it holds {held}, and no file says which of them are "
            "black and white. Save it with 8 or 16 bits per channel, from 0 for black to the "
            "largest number for white"
        )


def _rgb(image: Image.Image, path: str | Path) -> Image.Image:
    """A loaded image in 8-bit RGB."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        if "transparency" in image.info:
            raise UnreadableImageError(
                f"cannot read the image {path}: it has 16 bits and a transparent colour, which is "
                "not supported. Save it without transparency"
            )
        return Image.fromarray(_grey(image)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() == (0, 0):
            raise UnreadableImageError(
                f"cannot read the image {path}: every pixel is transparent. "
                "Save it without transparency"
            )
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image)
        return white.convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _grey(image: Image.Image) -> np.ndarray:
    """Grey of more than 8 bits as uint8 ``(H, W)``."""
    bits = max(_tiff_values(image, _BITS_PER_SAMPLE), default=16)
    values = np.asarray(image).astype(np.int64)
    largest = 2**bits - 1
    if _WHITE_IS_ZERO in _tiff_values(image, _PHOTOMETRIC):  # PIL sees to it in 8 bits only
        values = largest - values
    return ((values * 255 + largest // 2) // largest).astype(np.uint8)


def _tiff_values(image: Image.Image, tag: int) -> tuple[int, ...]:
    """The values of a TIFF file's tag; none if it lacks the tag, or is of another format."""
    found = getattr(image, "tag_v2", {}).get(tag, ())
    return found if isinstance(found, tuple) else (found,)


def _upright(pixels: Image.Image, image: Image.Image) -> Image.Image:
    """Turns pixels as the EXIF data of the loaded image that they come from say."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except DAMAGED_IMAGE:  # damaged EXIF data say nothing, and the pixels may be fine
        return pixels
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return pixels if turn is None else pixels.transpose(turn)
