"""A sheet of faces to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ggl_lightning.data.synthetic.canvas import HEIGHT, WIDTH
from ggl_lightning.data.synthetic.faces import draw_face
from ggl_lightning.data.synthetic.traits import BLOCK, PEOPLE_PER_BLOCK
from ggl_lightning.errors import UserError
from ggl_lightning.user_paths import user_path

_COLUMNS, _ROWS = 8, 6


def save_contact_sheet(path: str | Path, seed: int = 0) -> Path:
    """Draws the first 48 people of a collection, one photo each, 8 across and 6 down.

    Args:
        path: Picture to write (``.png`` or ``.jpg``); its folder must exist.
        seed: Collection.

    Returns:
        ``path``.

    Raises:
        UserError: If the picture cannot be written or its format is unknown.
    """
    path = user_path("contact_sheet", path)
    sheet = np.empty((_ROWS * HEIGHT, _COLUMNS * WIDTH, 3), dtype=np.uint8)
    for person in range(_ROWS * _COLUMNS):
        row, column = divmod(person, _COLUMNS)
        block, place = divmod(person, PEOPLE_PER_BLOCK)
        tile = (
            slice(row * HEIGHT, (row + 1) * HEIGHT),
            slice(column * WIDTH, (column + 1) * WIDTH),
        )
        sheet[tile] = draw_face(seed, block * BLOCK + place)[0]
    picture = Image.fromarray(sheet).resize(
        (_COLUMNS * WIDTH * 5 // 8, _ROWS * HEIGHT * 5 // 8), Image.Resampling.LANCZOS
    )
    # Levels in steps of four look the same and make the picture less than half as large.
    levels = (np.asarray(picture).astype(np.int16) + 2) // 4 * 4
    picture = Image.fromarray(levels.clip(0, 255).astype(np.uint8))
    try:
        picture.save(path, optimize=True)
    except (OSError, ValueError) as error:
        raise UserError(
            f"contact_sheet is {str(path)!r}: cannot write it ({error}). "
            "Give a .png or .jpg file in an existing folder."
        ) from error
    return path
