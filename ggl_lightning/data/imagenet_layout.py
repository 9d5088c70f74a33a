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
from pathlib import Path

from torchvision.datasets.folder import is_image_file

from ggl_lightning.errors import UserError

IMAGENET_URL = "https://www.image-net.org/download.php"

FOLDER_OF_SPLIT = {"train": "train", "valid": "val", "test": "val"}
"""Where each split lies. ImageNet's own test images have no public labels: ``val`` stands in."""

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
    problems = _problems(root, name, num_classes)
    if problems:
        listing = "".join(f"\n  - {problem}" for problem in problems)
        raise UserError(
            f"{root} does not hold the {split} split of an ImageNet tree:{listing}\n"
            f"Expected: {root / name} with one folder of images per class, e.g. "
            f"{name}/n01440764/*.JPEG. torchvision.datasets.ImageNet makes that of the official "
            f"archives.\nImageNet comes from {IMAGENET_URL}; nothing is downloaded for you."
        )
    return root / name


def _problems(root: Path, name: str, num_classes: int | None) -> list[str]:
    if not root.is_dir():
        return [f"the folder {root} does not exist"]
    if not (root / name).is_dir():
        found = f"{root} holds {_some(sorted(entry.name for entry in root.iterdir()))}"
        archive = _ARCHIVES[name]
        hint = f"; {archive} is there: extract it" if (root / archive).exists() else ""
        return [f"the folder {name} is missing ({found}{hint})"]
    classes, first_image = _class_folders(root / name)
    if not classes and first_image is not None:
        return [f"{name} holds images, e.g. {first_image}, that are not sorted into class folders"]
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
    if (root / other).is_dir():
        others, _ = _class_folders(root / other)
        for where, names in ((name, classes - others), (other, others - classes)):
            if names:
                problems.append(
                    f"train and val must have the same class folders, but {len(names)} are only "
                    f"in {where}: {_some(sorted(names))}"
                )
    return problems


def _class_folders(folder: Path) -> tuple[set[str], str | None]:
    """Names of the sub-folders, and of one image that lies beside them, if any does."""
    classes, image = set(), None
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                classes.add(entry.name)
            elif is_image_file(entry.name):
                image = min(image or entry.name, entry.name)
    return classes, image


def _some(names: list[str]) -> str:
    return (", ".join(names[:_SHOWN]) or "nothing") + (", ..." if len(names) > _SHOWN else "")
