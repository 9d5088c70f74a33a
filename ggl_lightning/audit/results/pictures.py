"""The pictures of an audit."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.utils import save_image

from ggl_lightning.atomic_file import replacing
from ggl_lightning.audit.results.values import source_of, source_title
from ggl_lightning.image_range import to_unit_range

_MOST_ROWS = 24
_TILE = 128  # shown size of one image, in pixels
_MARGIN = 12
_CAPTION = 34
_BACKGROUND = "white"
_INK = "black"
_MISSING = "lightgrey"
_FOUND = "reconstruction.png"

_log = logging.getLogger(__name__)


def save_images(images: Tensor, path: Path) -> None:
    """Writes images ``(N, 3, H, W)`` in ``[-1, 1]`` as one PNG at their own size, in a near-square.

    A single image is written without any border.
    """
    columns = math.ceil(math.sqrt(len(images)))
    with replacing(path) as unfinished:
        save_image(to_unit_range(images), unfinished, nrow=columns, padding=0, format="PNG")


def read_picture(path: Path) -> Image.Image | None:
    """A picture of an audit in RGB, or None, which is logged, if it was damaged since."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        _log.warning("The picture %s cannot be read: %s", path, error)
        return None


def comparison_sheet(cases: Sequence[tuple[dict[str, Any], Path]], path: Path) -> None:
    """Draws the private images beside their reconstructions, one row per private image and seed.

    Beyond 24 rows the rest is left out, and so are attacks that make no images, such as update
    matching, unless there are no others.

    Args:
        cases: Per case its result and the folder with ``original.png`` and ``reconstruction.png``.
        path: The PNG to write.
    """
    rows: dict[tuple[int, str | int], list[tuple[dict[str, Any], Path]]] = {}
    making = {result["attack"] for result, folder in cases if (folder / _FOUND).exists()}
    for result, folder in cases:
        if making and result["attack"] not in making:
            continue
        place = (result["seed"], source_of(result))
        if place in rows or len(rows) < _MOST_ROWS:
            rows.setdefault(place, []).append((result, folder))
    columns = 1 + max(len(row) for row in rows.values())
    cell_width, cell_height = _TILE + _MARGIN, _TILE + _CAPTION + _MARGIN
    sheet = Image.new(
        "RGB", (_MARGIN + columns * cell_width, _MARGIN + len(rows) * cell_height), _BACKGROUND
    )
    draw = ImageDraw.Draw(sheet)
    for i, ((seed, _), row) in enumerate(rows.items()):
        top = _MARGIN + i * cell_height
        captions = [f"private {source_title(row[0][0])}\nseed {seed}"]
        pictures = [row[0][1] / "original.png"]
        for result, folder in row:
            captions.append(f"{result['defense']}, {result['attack']}\n{_psnr(result['psnr'])}")
            pictures.append(folder / _FOUND)
        for j, (caption, picture) in enumerate(zip(captions, pictures, strict=True)):
            left = _MARGIN + j * cell_width
            sheet.paste(_tile(picture), (left, top))
            _write(draw, (left, top + _TILE + 2), caption)
    with replacing(path) as unfinished:
        sheet.save(unfinished, format="PNG")


def _psnr(value: float | None) -> str:
    if value is None:
        return "PSNR missing"
    return "exact" if math.isinf(value) else f"{value:.1f} dB PSNR"


def _tile(picture: Path) -> Image.Image:
    """The picture enlarged without smoothing: what is seen are the pixels that were compared.

    In place of one that is not there, or was damaged since, a grey field.
    """
    image = read_picture(picture) if picture.exists() else None
    if image is None:
        return Image.new("RGB", (_TILE, _TILE), _MISSING)
    smooth = max(image.size) > _TILE
    method = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    return image.resize((_TILE, _TILE), method)


def _write(draw: ImageDraw.ImageDraw, position: tuple[int, int], caption: str) -> None:
    """Writes two lines, in a size at which the longer one fits under a tile."""
    for size in (13, 12, 11, 10, 9, 8):
        font = ImageFont.load_default(size=size)
        left, _, right, _ = draw.multiline_textbbox((0, 0), caption, font=font)
        if right - left <= _TILE + _MARGIN - 2:
            break
    draw.multiline_text(position, caption, fill=_INK, font=font, spacing=2)
