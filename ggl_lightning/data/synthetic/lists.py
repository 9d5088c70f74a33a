"""CelebA's list files of a synthetic collection, in the columns of the original files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ggl_lightning.data.celeba_layout import ATTRIBUTE_FILE, ATTRIBUTES, PARTITION_FILE
from ggl_lightning.data.synthetic.attributes import FaceDescription
from ggl_lightning.data.synthetic.traits import BLOCK

IDENTITY_FILE = "identity_CelebA.txt"
BOX_FILE = "list_bbox_celeba.txt"
LANDMARK_FILE = "list_landmarks_align_celeba.txt"

_BOX_HEADER = "image_id x_1 y_1 width height"
_LANDMARK_HEADER = (
    "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y "
    "leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
)


def image_name(index: int) -> str:
    """File name of the image at ``index`` (from 0): ``000001.jpg`` and on."""
    return f"{index + 1:06d}.jpg"


def partition(count: int) -> tuple[int, int]:
    """Where the validation and the test split start, about 80% and 90% into the files.

    Splits end between blocks of identities, so that no person is in two of them. Fewer
    than three blocks leave no room for three splits: the validation split goes first, then the
    test split.

    Args:
        count: Number of images.

    Returns:
        ``(start of valid, start of test)``.
    """
    # A split of one image trips torchvision's reader, hence at least two in the last.
    test = min(round(0.9 * count), count - 2) // BLOCK * BLOCK
    if test <= 0:
        return count, count
    valid = min(round(0.8 * count), test - BLOCK) // BLOCK * BLOCK
    return (valid, test) if valid > 0 else (test, test)


def write_lists(folder: Path, faces: Sequence[FaceDescription]) -> None:
    """Writes the five list files into ``folder`` (the one that holds ``img_align_celeba``)."""
    names = [image_name(i) for i in range(len(faces))]
    valid, test = partition(len(faces))
    rows = {
        ATTRIBUTE_FILE: [
            " ".join(f"{1 if face.attributes[a] else -1:2d}" for a in ATTRIBUTES) for face in faces
        ],
        PARTITION_FILE: [str((i >= valid) + (i >= test)) for i in range(len(faces))],
        IDENTITY_FILE: [str(face.identity) for face in faces],
        BOX_FILE: [" ".join(f"{v:3d}" for v in face.box) for face in faces],
        LANDMARK_FILE: [" ".join(f"{v:3d}" for v in face.landmarks) for face in faces],
    }
    headers = {
        ATTRIBUTE_FILE: " ".join(ATTRIBUTES),
        BOX_FILE: _BOX_HEADER,
        LANDMARK_FILE: _LANDMARK_HEADER,
    }
    for file_name, body in rows.items():
        lines = [f"{name} {row}" for name, row in zip(names, body, strict=True)]
        if file_name in headers:
            lines = [str(len(faces)), headers[file_name], *lines]
        (folder / file_name).write_text("\n".join(lines) + "\n", encoding="ascii")
