"""ImageNet's on-disk layout, and the check that a folder has it.

It is the layout that `torchvision.datasets.ImageNet` makes of the official archives, and that
`torchvision.datasets.ImageFolder` reads::

    <root>/
        train/n01440764/*.JPEG ...      one folder per class, 1000 of them
        val/n01440764/*.JPEG ...        the same folders

torchvision's ``meta.bin`` and the development kit are not needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from torchvision.datasets.folder import is_image_file

from ggl_lightning.errors import UserError

IMAGENET_URL = "https://www.image-net.org/download.php"

FOLDER_OF_SPLIT = {"train": "train", "valid": "val", "test": "val"}
"""Where each split lies. ImageNet's own test images have no public labels: ``val`` stands in."""

_OF_SYSTEMS = frozenset(
    {"@eaDir", "#recycle", "__MACOSX", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
)
"""Folders that network drives, archives and file systems leave beside data."""

_ARCHIVES = {"train": "ILSVRC2012_img_train.tar", "val": "ILSVRC2012_img_val.tar"}
_SHOWN = 3  # names in an error message


def check_imagenet_split(root: Path, split: str, num_classes: int | None) -> Path:
    """Checks that a split's class folders are there.

    Folders are counted and compared by name; the images in them are not looked at.

    Args:
        root: The folder that holds ``train`` and ``val``.
        split: ``train``, ``valid`` or ``test``.
        num_classes: How many class folders there must be; any number if None.

    Returns:
        The split's folder.

    Raises:
        UserError: One message that says what is missing.
    """
    name = FOLDER_OF_SPLIT[split]
    problems = class_folder_problems(root, name, num_classes)
    if problems:
        listing = "".join(f"\n  - {problem}" for problem in problems)
        raise UserError(
            f"{root} does not hold the {split} split of an ImageNet tree:{listing}\n"
            f"Expected: {root / name} with one folder of images per class, e.g. "
            f"{name}/n01440764/*.JPEG. torchvision.datasets.ImageNet makes that of the official "
            f"archives.\nImageNet comes from {IMAGENET_URL}; nothing is downloaded for you."
        )
    return root / name


def class_folder_problems(root: Path, name: str, num_classes: int | None) -> list[str]:
    """What keeps a folder of ``root`` from being read as folders of classes.

    Args:
        root: The folder that holds it.
        name: ``train``, ``val`` or ``test``.
        num_classes: How many class folders there must be; any number if None.

    Returns:
        A phrase for each thing that is missing or does not fit.
    """
    if not root.is_dir():
        return [f"the folder {root} does not exist"]
    if not (root / name).is_dir():
        found = f"{root} holds {_some(sorted(entry.name for entry in root.iterdir()))}"
        archive = _ARCHIVES.get(name)
        is_packed = archive is not None and (root / archive).exists()
        hint = f"; {archive} is there: extract it" if is_packed else ""
        return [f"the folder {name} is missing ({found}{hint})"]
    classes = class_folders(root / name)
    beside = sorted(path.name for path in (root / name).iterdir())
    loose = [] if classes else list(filter(_is_image, beside))
    if loose:
        return [f"{name} holds images, e.g. {loose[0]}, that are not sorted into class folders"]
    if not classes:
        return [f"{name} holds no class folders"]
    problems = []
    if num_classes is not None and len(classes) != num_classes:
        problems.append(
            f"{name} has {len(classes)} class folders, but num_classes is {num_classes}: a class's "
            "index is its folder's place in alphabetical order, so a missing folder would shift "
            "the labels. For part of ImageNet keep all folders, empty ones too; for other images "
            "set num_classes"
        )
    other = "val" if name == "train" else "train"
    # A split that is not there, or not unpacked yet, shifts no label of this one.
    others = class_folders(root / other) if (root / other).is_dir() else set()
    if others:
        for where, names in ((name, classes - others), (other, others - classes)):
            if names:
                problems.append(
                    f"{' and '.join(sorted((name, other)))} must have the same class folders, but "
                    f"{len(names)} are only in {where}: {_some(sorted(names))}"
                )
    return problems


def class_folders(folder: Path) -> set[str]:
    """Names of the folders in a split's folder that are classes.

    Args:
        folder: The split's folder.
    """
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_dir() and not _is_ignored(entry.name)}


def is_image_of(folder: Path) -> Callable[[str], bool]:
    """Tells, by their paths, which files below a split's folder are its images.

    Args:
        folder: The split's folder.

    Returns:
        Whether a path's name ends as an image's, and no part of it below the folder is hidden.
    """
    above = len(folder.parts)

    def is_image(path: str) -> bool:
        parts = Path(path).parts[above:]
        return _is_image(parts[-1]) and not any(map(_is_ignored, parts[:-1]))

    return is_image


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name in _OF_SYSTEMS


def _is_image(name: str) -> bool:
    return is_image_file(name) and not _is_ignored(name)


def _some(names: list[str]) -> str:
    return (", ".join(names[:_SHOWN]) or "nothing") + (", ..." if len(names) > _SHOWN else "")
