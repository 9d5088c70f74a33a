"""Pictures of cases, small and inside the page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

PIXEL_EXACT = 64
"""Pictures up to this size, in pixels, keep every pixel."""

LARGEST = 128
"""Larger ones are scaled down to this."""


class NoPictureError(Exception):
    """A picture cannot be shown: the message is the reason."""


@dataclass(frozen=True)
class Thumbnail:
    """A picture as a ``data:`` URI.

    Attributes:
        uri: The picture.
        exact: Whether it has all its pixels; such a one is enlarged without smoothing.
    """

    uri: str
    exact: bool


def make_thumbnail(file: Path) -> Thumbnail:
    """Reads a picture and encodes it anew, so that nothing else of the file gets into the page.

    Raises:
        NoPictureError: If it is not there or not a picture.
    """
    try:
        with Image.open(file, formats=["PNG"]) as opened:
            picture = opened.convert("RGB")
    except FileNotFoundError as error:
        raise NoPictureError(f"no {file.name}") from error
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise NoPictureError(f"{file.name} is not a picture") from error
    buffer = io.BytesIO()
    exact = max(picture.size) <= PIXEL_EXACT
    if exact:
        picture.save(buffer, format="PNG", optimize=True)
    else:
        picture.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
        picture.save(buffer, format="JPEG", quality=85)
    kind = "png" if exact else "jpeg"
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return Thumbnail(f"data:image/{kind};base64,{encoded}", exact)
