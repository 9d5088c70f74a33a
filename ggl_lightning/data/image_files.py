"""Opening image files that somebody else may have written."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

FORMATS = ("JPEG", "PNG", "PPM", "BMP", "GIF", "TIFF", "WEBP")
"""Formats that are pixels and nothing else.

PIL goes by a file's content, not by its name, and would have Ghostscript run what is PostScript.
"""


def open_image(path: str | Path) -> Image.Image:
    """Opens an image file; its pixels are read when they are asked for.

    Args:
        path: The file.

    Raises:
        OSError: If it is missing or of no format in `FORMATS`.
    """
    return Image.open(path, formats=FORMATS)
