"""A sheet of faces to look at: the first ones full size, and many as a small prior sees them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ggl_lightning.data.synthetic.canvas import HEIGHT, WIDTH
from ggl_lightning.data.synthetic.faces import draw_face
from ggl_lightning.errors import UserError

_COLUMNS, _ROWS = 8, 6


def save_contact_sheet(path: str | Path, seed: int = 0) -> Path:
    """Draws the first 48 faces of a collection on one picture, 8 across and 6 down.

    Args:
        path: Picture to write (``.png`` or ``.jpg``); its folder must exist.
        seed: Collection.

    Returns:
        ``path``.

    Raises:
        UserError: If the picture cannot be written or its format is unknown.
    """
    path = Path(path).expanduser()
    sheet = np.empty((_ROWS * HEIGHT, _COLUMNS * WIDTH, 3), dtype=np.uint8)
    for index in range(_ROWS * _COLUMNS):
        row, column = divmod(index, _COLUMNS)
        tile = (
            slice(row * HEIGHT, (row + 1) * HEIGHT),
            slice(column * WIDTH, (column + 1) * WIDTH),
        )
        sheet[tile] = draw_face(seed, index)[0]
    # Half the size and a palette keep the picture small enough for the documentation.
    picture = Image.fromarray(sheet).resize(
        (_COLUMNS * WIDTH * 5 // 8, _ROWS * HEIGHT * 5 // 8), Image.Resampling.LANCZOS
    )
    try:
        if path.suffix.lower() == ".png":
            picture.quantize(colors=256, method=Image.Quantize.MEDIANCUT).save(path, optimize=True)
        else:
            picture.save(path, quality=85)
    except (OSError, ValueError) as error:
        raise UserError(
            f"contact_sheet is {str(path)!r}: cannot write it ({error}). "
            "Give a .png or .jpg file in an existing folder."
        ) from error
    return path
