"""Where a CelebA folder keeps what is read of it, and the check that it is all there.

Three layouts are known, and anything between them. torchvision's::

    <root>/celeba/
        img_align_celeba/000001.jpg ...     178x218 JPEGs
        list_attr_celeba.txt                count, header, "000001.jpg -1 1 ..." (40 columns)
        list_eval_partition.txt             "000001.jpg 0" (0 train, 1 valid, 2 test)

The authors', with ``Img/img_align_celeba/``, ``Anno/list_attr_celeba.txt`` and
``Eval/list_eval_partition.txt``; and Kaggle's, with ``img_align_celeba/img_align_celeba/`` and the
lists as ``.csv``. Lists of boxes, landmarks and identities are not read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torchvision.datasets.folder import is_image_file

from ggl_lightning.command_names import as_called
from ggl_lightning.data.celeba_lists import ListFile, read_list
from ggl_lightning.errors import UserError

CELEBA_URL = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"

BASE_FOLDER = "celeba"
IMAGE_FOLDER = "img_align_celeba"
ATTRIBUTE_FILE = "list_attr_celeba.txt"
PARTITION_FILE = "list_eval_partition.txt"

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

_ATTRIBUTE_FILES = (ATTRIBUTE_FILE, f"Anno/{ATTRIBUTE_FILE}", "list_attr_celeba.csv")
_PARTITION_FILES = (PARTITION_FILE, f"Eval/{PARTITION_FILE}", "list_eval_partition.csv")
_IMAGE_FOLDERS = (
    *(f"{IMAGE_FOLDER}/{IMAGE_FOLDER}", IMAGE_FOLDER),
    *(f"Img/{IMAGE_FOLDER}/{IMAGE_FOLDER}", f"Img/{IMAGE_FOLDER}"),
    *("img_align_celeba_png", "Img/img_align_celeba_png"),
)
_ARCHIVES = (".zip", ".7z", ".7z.001", ".tar", ".tar.gz", ".tgz")
_SHOWN = 3  # names in an error message


@dataclass(frozen=True)
class CelebARoot:
    """A checked CelebA folder and the contents of its lists.

    Attributes:
        partition_file: Where the images' splits are from.
        image_folder: The folder of the images.
        present: The names of the files in it.
        names: The ``N`` images' names, in the order of `partition_file`.
        splits: Positions in `SPLITS`: int64 ``(N,)``.
        attributes: In the order of `ATTRIBUTES`: int64 ``(N, 40)`` in ``{0, 1}``.
    """

    partition_file: Path
    image_folder: Path
    present: frozenset[str]
    names: list[str]
    splits: npt.NDArray[np.int64]
    attributes: npt.NDArray[np.int64]


def check_celeba_root(root: str | os.PathLike[str]) -> CelebARoot:
    """Finds images, attributes and partition below ``root``, and reads the two lists.

    Every list may have its own order: rows belong together by the image's name.

    Args:
        root: The folder that holds ``celeba/``, as torchvision wants it, or that folder itself, in
            any of the known layouts.

    Returns:
        The checked folder with its lists' contents. Whether each listed image is there is not
        checked; `image_files` does, for the images that are wanted.

    Raises:
        UserError: One message naming everything that is missing or inconsistent.
    """
    root = Path(root)
    if not root.is_dir():
        raise _incomplete(root, [f"the folder {root} does not exist"])
    problems: list[str] = []
    attributes = _read(root, _ATTRIBUTE_FILES, len(ATTRIBUTES), True, problems)
    bits = None if attributes is None else _bits(attributes, problems)
    partition = _read(root, _PARTITION_FILES, 1, False, problems)
    if partition is not None:
        _check_values(partition, tuple(range(len(SPLITS))), problems)
    rows = None
    if attributes is not None and partition is not None:
        rows = _matching_rows(partition, attributes, problems)
    images = _images(root, problems)
    if problems or rows is None or bits is None or partition is None or images is None:
        raise _incomplete(root, problems)
    return CelebARoot(
        partition_file=partition.path,
        image_folder=images[0],
        present=images[1],
        names=partition.names,
        splits=partition.values[:, 0],
        attributes=bits[rows],
    )


def image_files(root: CelebARoot, names: list[str], split: str) -> list[str]:
    """The files of some of the listed images.

    A file may end otherwise than the list says (``.JPG``, ``.png``), if no other has its name.

    Args:
        root: The checked folder.
        names: Names in the lists.
        split: The split they are of, for the message.

    Returns:
        Names of files in the folder of images.

    Raises:
        UserError: If an image is not there.
    """
    if root.present.issuperset(names):
        return names
    by_stem: dict[str, list[str]] = {}
    for file_name in sorted(root.present.difference(root.names)):
        if is_image_file(file_name):
            by_stem.setdefault(_stem(file_name), []).append(file_name)
    found, missing = [], []
    for name in names:
        others = [name] if name in root.present else by_stem.get(_stem(name), [])
        if len(others) == 1:
            found.append(others[0])
        else:
            missing.append(f"{name} ({' or '.join(others)}?)" if others else name)
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
        raise UserError(
            f"{len(missing)} of the {len(names)} images of the {split} split, which "
            f"{root.partition_file} lists, are not in {root.image_folder}: {shown}. Extract all of "
            "CelebA's aligned and cropped images there, or strike what you do not have from both "
            "lists."
        )
    return found


def _stem(name: str) -> str:
    return Path(name).stem.lower()


def _paths(root: Path, places: tuple[str, ...]) -> list[Path]:
    bases = (root / BASE_FOLDER, root / "CelebA", root)
    return [base / place for base in bases for place in places]


def _read(
    root: Path, places: tuple[str, ...], columns: int, has_header: bool, problems: list[str]
) -> ListFile | None:
    path = next((path for path in _paths(root, places) if path.is_file()), None)
    if path is None:
        problems.append(f"{places[0]} is missing{_archive_hint(root, Path(places[0]).stem)}")
        return None
    found = read_list(path, columns, has_header)
    if isinstance(found, str):
        problems.append(f"{path.name} {found}")
        return None
    return found


def _bits(attributes: ListFile, problems: list[str]) -> npt.NDArray[np.int64]:
    """The attributes in {0, 1}: the authors write -1 for 0, some copies of their list do not."""
    if attributes.header != list(ATTRIBUTES):
        difference = _first_difference(attributes.header)
        problems.append(f"{attributes.path.name} has another header: {difference}")
    _check_values(attributes, (0, 1) if attributes.values.min() == 0 else (-1, 1), problems)
    return (attributes.values > 0).astype(np.int64)


def _first_difference(header: list[str]) -> str:
    for position, expected in enumerate(ATTRIBUTES):
        found = header[position] if position < len(header) else None
        if found != expected:
            return f"column {position} is {found!r} instead of {expected!r}"
    return f"{len(header)} columns instead of {len(ATTRIBUTES)}"


def _check_values(table: ListFile, allowed: tuple[int, ...], problems: list[str]) -> None:
    wrong = np.argwhere(~np.isin(table.values, allowed))
    if len(wrong):
        row, column = wrong[0]
        problems.append(
            f"{table.path.name} has {len(wrong)} values that are none of {allowed}, "
            f"the first is {table.values[row, column]} for {table.names[row]}"
        )


def _matching_rows(
    partition: ListFile, attributes: ListFile, problems: list[str]
) -> npt.NDArray[np.int64] | None:
    """For every row of the partition, the row of the attributes that is of the same image."""
    row_of = {name: row for row, name in enumerate(attributes.names)}
    known = set(partition.names)
    alone = {
        partition.path.name: [name for name in partition.names if name not in row_of],
        attributes.path.name: [name for name in attributes.names if name not in known],
    }
    for file_name, names in alone.items():
        if names:
            problems.append(
                f"the lists are not of the same images: {len(names)} are only in {file_name}, the "
                f"first is {names[0]}"
            )
    if any(alone.values()):
        return None
    return np.array([row_of[name] for name in partition.names])


def _images(root: Path, problems: list[str]) -> tuple[Path, frozenset[str]] | None:
    """The folder of the images, and the names of the files in it."""
    folders = [path for path in _paths(root, _IMAGE_FOLDERS) if path.is_dir()]
    for folder in folders:
        names = _file_names(folder)
        if any(map(is_image_file, names)):
            return folder, names
    hint = _archive_hint(root, IMAGE_FOLDER)
    if folders:
        problems.append(f"the folder {folders[0]} holds no images{hint}")
    else:
        problems.append(f"the folder {IMAGE_FOLDER} is missing{hint}")
    return None


def _file_names(folder: Path) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries)
    except OSError as error:
        raise UserError(f"cannot list the images in {folder}: {error.strerror}.") from error


def _archive_hint(root: Path, stem: str) -> str:
    """Names the archive that what is missing may still be in."""
    folders = {path.parent for path in _paths(root, ("x", "Img/x", "Anno/x", "Eval/x"))}
    archives = sorted(
        path
        for folder in folders
        if folder.is_dir()
        for path in folder.iterdir()
        if path.name.lower().endswith(_ARCHIVES)
    )
    # Its own archive, or one of everything.
    own = [path for path in archives if path.name.startswith(stem)]
    whole = [path for path in archives if not path.name.startswith(("list_", "img_"))]
    chosen = next(iter([*own, *whole]), None)
    return "" if chosen is None else f" ({chosen.name} is there: extract it)"


def _incomplete(root: Path, problems: list[str]) -> UserError:
    listing = "".join(f"\n  - {problem}" for problem in problems)
    above = (
        f"\n{root.name} is the folder of the images: give the one above it."
        if root.name.startswith(IMAGE_FOLDER)
        else ""
    )
    return UserError(
        f"{root} does not hold a complete CelebA dataset:{listing}{above}\n"
        f"Expected: {root / BASE_FOLDER} with the folder {IMAGE_FOLDER} and the lists "
        f"{ATTRIBUTE_FILE} and {PARTITION_FILE}; or these as the authors (Anno/, Eval/, Img/) or "
        "Kaggle (.csv) arrange them.\n"
        f"CelebA comes from {CELEBA_URL} (aligned and cropped images, and the lists); "
        "nothing is downloaded for you.\n"
        "For a synthetic stand-in in the same layout, run "
        f"`{as_called('ggl-faces')} --root data/synthetic` and give that root."
    )
