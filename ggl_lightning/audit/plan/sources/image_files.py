"""Images that a configuration names file by file, or by their folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchvision.datasets.folder import is_image_file

from ggl_lightning.data.image_files import open_image
from ggl_lightning.data.image_transform import image_pixels, to_signed_range
from ggl_lightning.errors import UserError
from ggl_lightning.user_paths import user_path


def read_images(name: str, given: str | Sequence[str], image_size: int) -> Tensor:
    """Reads images as data modules do: the smaller side resized, the centre cut out.

    Args:
        name: How the user knows the setting.
        given: A folder, whose image files are read in the order of their names; or files.
        image_size: Height and width of the result, in pixels.

    Returns:
        Images ``(N, 3, image_size, image_size)`` in ``[-1, 1]``.

    Raises:
        UserError: With every image that is missing or cannot be read; if there is none.
    """
    to_pixels = image_pixels(image_size)
    files = _files(name, given)
    problems, images = [], []
    for file in files:
        try:
            images.append(to_signed_range(to_pixels(open_image(file))))
        except UserError as error:
            problems.append(f"{name}: {str(error).rstrip('.')}.")
    if problems:
        raise UserError(*problems)
    return torch.stack(images)


def _files(name: str, given: str | Sequence[str]) -> list[Path]:
    paths = [user_path(name, each) for each in ([given] if isinstance(given, str) else given)]
    if isinstance(given, str) and paths[0].is_dir():
        folder = paths[0]
        files = sorted(file for file in folder.iterdir() if is_image_file(file.name))
        if not files:
            raise UserError(f"{name} is {given!r}: there is no image in that folder.")
        return files
    if not paths:
        raise UserError(f"{name} is empty: name a folder, or at least one image file.")
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise UserError(f"{name} names {', '.join(missing[:6])}: there is no such file.")
    return paths
