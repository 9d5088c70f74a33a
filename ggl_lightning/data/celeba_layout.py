"""CelebA's on-disk layout: its file names, its attributes, and the check that a folder has it all.

The layout is the one `torchvision.datasets.CelebA` reads::

    <root>/celeba/
        img_align_celeba/000001.jpg ...     178x218 JPEGs
        list_attr_celeba.txt                count, header, "000001.jpg -1 1 ..." (40 columns)
        list_eval_partition.txt             "000001.jpg 0" (0 train, 1 valid, 2 test)
        identity_CelebA.txt                 "000001.jpg 2880"
        list_bbox_celeba.txt                count, header, 4 columns
        list_landmarks_align_celeba.txt     count, header, 10 columns
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ggl_lightning.errors import UserError

CELEBA_URL = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"

BASE_FOLDER = "celeba"
IMAGE_FOLDER = "img_align_celeba"
ATTRIBUTE_FILE = "list_attr_celeba.txt"
PARTITION_FILE = "list_eval_partition.txt"
IDENTITY_FILE = "identity_CelebA.txt"
BOX_FILE = "list_bbox_celeba.txt"
LANDMARK_FILE = "list_landmarks_align_celeba.txt"

SPLITS = ("train", "valid", "test")
"""The splits by name; a split's position is its number in `PARTITION_FILE`."""

ATTRIBUTES = (
    "5_o_Clock_Shadow",
    "Arched_Eyebrows",
    "Attractive",
    "Bags_Under_Eyes",
    "Bald",
    "Bangs",
    "Big_Lips",
    "Big_Nose",
    "Black_Hair",
    "Blond_Hair",
    "Blurry",
    "Brown_Hair",
    "Bushy_Eyebrows",
    "Chubby",
    "Double_Chin",
    "Eyeglasses",
    "Goatee",
    "Gray_Hair",
    "Heavy_Makeup",
    "High_Cheekbones",
    "Male",
    "Mouth_Slightly_Open",
    "Mustache",
    "Narrow_Eyes",
    "No_Beard",
    "Oval_Face",
    "Pale_Skin",
    "Pointy_Nose",
    "Receding_Hairline",
    "Rosy_Cheeks",
    "Sideburns",
    "Smiling",
    "Straight_Hair",
    "Wavy_Hair",
    "Wearing_Earrings",
    "Wearing_Hat",
    "Wearing_Lipstick",
    "Wearing_Necklace",
    "Wearing_Necktie",
    "Young",
)
"""CelebA's 40 attribute names, in the order of the columns of `ATTRIBUTE_FILE`."""


class _ListFile(NamedTuple):
    """The shape of one list file: does it start with a count and a header, how many numbers."""

    has_header: bool
    columns: int


_LIST_FILES = {
    ATTRIBUTE_FILE: _ListFile(has_header=True, columns=len(ATTRIBUTES)),
    PARTITION_FILE: _ListFile(has_header=False, columns=1),
    IDENTITY_FILE: _ListFile(has_header=False, columns=1),
    BOX_FILE: _ListFile(has_header=True, columns=4),
    LANDMARK_FILE: _ListFile(has_header=True, columns=10),
}

_ALLOWED_VALUES = {ATTRIBUTE_FILE: (-1, 1), PARTITION_FILE: (0, 1, 2)}


class _Table(NamedTuple):
    """One parsed list file: image names and their numbers ``(N, columns)``."""

    header: list[str]
    names: list[str]
    values: npt.NDArray[np.int64]


@dataclass(frozen=True)
class CelebARoot:
    """A checked CelebA folder and the contents of its list files.

    Attributes:
        folder: The folder that holds `IMAGE_FOLDER` and the list files.
        names: The ``N`` image file names, in file order (the same order in every list file).
        values: For each list file name, its numbers: int64 ``(N, columns)``.
    """

    folder: Path
    names: list[str]
    values: dict[str, npt.NDArray[np.int64]]


def check_celeba_root(root: str | os.PathLike[str]) -> CelebARoot:
    """Checks that ``root`` holds a complete CelebA tree, and reads its list files.

    Images are looked up by name only (one directory scan), not opened.

    Args:
        root: The folder that holds ``celeba/``, as torchvision wants it; the ``celeba`` folder
            itself is accepted too.

    Returns:
        The checked folder with its list files' contents.

    Raises:
        UserError: One message naming everything that is missing or inconsistent.
    """
    root = Path(root).expanduser()
    folder = _find_folder(root)
    if not folder.is_dir():
        raise _incomplete(root, [f"the folder {folder} does not exist"])

    problems: list[str] = []
    tables: dict[str, _Table] = {}
    for file_name, spec in _LIST_FILES.items():
        table = _read_table(folder / file_name, spec)
        if isinstance(table, str):
            problems.append(f"{file_name} {table}")
        else:
            tables[file_name] = table
            problems += _check_values(file_name, table)
    problems += _check_same_rows(tables)
    listed = next(iter(tables.values())).names if tables else []
    problems += _check_images(folder / IMAGE_FOLDER, listed)
    if problems:
        raise _incomplete(root, problems)
    return CelebARoot(folder, listed, {name: table.values for name, table in tables.items()})


def _find_folder(root: Path) -> Path:
    nested = root / BASE_FOLDER
    if not nested.is_dir() and any((root / name).exists() for name in (IMAGE_FOLDER, *_LIST_FILES)):
        return root
    return nested


def _read_table(path: Path, spec: _ListFile) -> _Table | str:
    """Reads one list file; returns what is wrong with it, as the rest of a sentence, on failure."""
    try:
        # A damaged byte must end as a bad row below, not as a decoding error without a place.
        lines = path.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
    except FileNotFoundError:
        # Some mirrors repackage the lists as CSV.
        csv = path.with_suffix(".csv")
        hint = f" ({csv.name} is there, but its format is another)" if csv.exists() else ""
        return f"is missing{hint}"
    except OSError as error:
        return f"cannot be read: {error.strerror}"

    first_row = 2 if spec.has_header else 0
    rows = lines[first_row:]
    if not rows:
        return "lists no image"
    header = lines[1].split() if spec.has_header else []
    if spec.has_header and lines[0].strip() != str(len(rows)):
        return f"announces {lines[0].strip()[:40]!r} rows in its first line, but holds {len(rows)}"

    cells = [row.split(maxsplit=1) for row in rows]
    try:
        values = np.loadtxt([pair[1] for pair in cells], np.int64, comments=None, ndmin=2)
    except (ValueError, IndexError):
        values = np.empty((0, 0), np.int64)
    if values.shape != (len(rows), spec.columns):
        return _describe_bad_row(rows, first_row, spec.columns)
    return _Table(header, [pair[0] for pair in cells], values)


def _describe_bad_row(rows: list[str], first_row: int, columns: int) -> str:
    for number, row in enumerate(rows, start=first_row + 1):
        cells = row.split()
        if len(cells) != columns + 1 or not all(c.lstrip("+-").isdecimal() for c in cells[1:]):
            shown = row if len(row) <= 60 else row[:60] + "..."
            return (
                f"line {number} is {shown!r}: expected a file name and "
                f"{columns} whole number{'s' if columns > 1 else ''}"
            )
    return "holds numbers that do not fit 64 bits"


def _check_values(file_name: str, table: _Table) -> list[str]:
    problems = []
    if file_name == ATTRIBUTE_FILE and table.header != list(ATTRIBUTES):
        problems.append(f"{file_name} has another header: {_first_difference(table.header)}")
    if file_name in _ALLOWED_VALUES:
        allowed = _ALLOWED_VALUES[file_name]
        wrong = np.argwhere(~np.isin(table.values, allowed))
        if len(wrong):
            row, column = wrong[0]
            problems.append(
                f"{file_name} has {len(wrong)} values that are none of {allowed}, "
                f"the first is {table.values[row, column]} for {table.names[row]}"
            )
    return problems


def _first_difference(header: list[str]) -> str:
    for position, expected in enumerate(ATTRIBUTES):
        found = header[position] if position < len(header) else None
        if found != expected:
            return f"column {position} is {found!r} instead of {expected!r}"
    return f"{len(header)} columns instead of {len(ATTRIBUTES)}"


def _check_same_rows(tables: dict[str, _Table]) -> list[str]:
    """The reader pairs the files' rows by position, so all must list the same names in order."""
    if not tables:
        return []
    (reference_file, reference), *others = tables.items()
    problems = []
    if len(set(reference.names)) != len(reference.names):
        problems.append(f"{reference_file} lists some image more than once")
    for file_name, table in others:
        if table.names == reference.names:
            continue
        if len(table.names) != len(reference.names):
            problems.append(
                f"{file_name} lists {len(table.names)} images, "
                f"{reference_file} lists {len(reference.names)}"
            )
        else:
            pairs = zip(table.names, reference.names, strict=True)
            row = next(i for i, (a, b) in enumerate(pairs) if a != b)
            problems.append(
                f"{file_name} and {reference_file} differ in row {row + 1}: "
                f"{table.names[row]} and {reference.names[row]}"
            )
    return problems


def _check_images(image_folder: Path, listed: list[str]) -> list[str]:
    try:
        with os.scandir(image_folder) as entries:
            present = {entry.name for entry in entries}
    except FileNotFoundError:
        archive = image_folder.with_suffix(".zip")
        hint = f" ({archive.name} is there: extract it)" if archive.exists() else ""
        return [f"the folder {IMAGE_FOLDER} is missing{hint}"]
    except OSError as error:
        return [f"the folder {IMAGE_FOLDER} cannot be read: {error.strerror}"]
    missing = [name for name in listed if name not in present]
    if not missing:
        return []
    shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
    nested = (
        f" (extracted one level too deep, into {IMAGE_FOLDER}/{IMAGE_FOLDER}?)"
        if IMAGE_FOLDER in present
        else ""
    )
    return [
        f"{len(missing)} of {len(listed)} listed images are not in {IMAGE_FOLDER}: {shown}{nested}"
    ]


def _incomplete(root: Path, problems: list[str]) -> UserError:
    listing = "".join(f"\n  - {problem}" for problem in problems)
    return UserError(
        f"{root} does not hold a complete CelebA dataset:{listing}\n"
        f"Expected: {root / BASE_FOLDER} with the folder {IMAGE_FOLDER} and the files "
        f"{', '.join(_LIST_FILES)}.\n"
        f"CelebA comes from {CELEBA_URL} (aligned and cropped images, and the lists); "
        "nothing is downloaded for you.\n"
        "For a synthetic stand-in in the same layout, run "
        "`python -m ggl_lightning.data.synthetic --root data/synthetic` and give that root."
    )
