"""Which images an audit reads, and whether they are as they must be."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ggl_lightning.audit.plan.controls import control_of
from ggl_lightning.audit.plan.data_module import AuditDataModule
from ggl_lightning.errors import UserError
from ggl_lightning.federated import FederatedTraining
from ggl_lightning.problems import Problems

_SHOWN = 10  # images that are told of by name
_SLACK = 1e-3  # that values may lie outside [-1, 1]


def images_read(grid: AuditDataModule, utility: FederatedTraining | None) -> dict[str, list[int]]:
    """Indices of all images that an audit reads, by split.

    Args:
        grid: The cases, set up.
        utility: The federated training, if there is one.

    Returns:
        Ascending indices: private images, their decoys, other clients' images, and those that
        federated training uses.
    """
    companions = grid.companions
    read = {index for spec in grid.cases.specs for index in spec.indices}
    for first in {spec.indices[0] for spec in grid.cases.specs}:
        read.update(companions.decoy_pool(first))
    for spec in grid.cases.specs:
        control = control_of(spec.role)
        if control is not None:
            read.update(control.other_images(spec, companions))
    splits: dict[str, set[int]] = {grid.split: read}
    if utility is not None:
        labels = _labels_of_training(grid)
        chosen = utility.choose(*map(len, labels.values()))
        for split, indices in zip(labels, chosen, strict=True):
            splits.setdefault(split, set()).update(indices)
    return {split: sorted(indices) for split, indices in splits.items()}


def image_problems(grid: AuditDataModule, utility: FederatedTraining | None) -> list[str]:
    """What is wrong of the images that an audit reads.

    Args:
        grid: The cases, set up.
        utility: The federated training, if there is one.

    Returns:
        Texts for the user: images that are missing or cannot be read, private images that are not
        finite or outside ``[-1, 1]``, and images that federated training cannot use.
    """
    problems = Problems()
    for split, indices in images_read(grid, utility).items():
        found = grid.image_data.problems(split, indices)
        problems.extend(found[:_SHOWN])
        if len(found) > _SHOWN:
            problems.add(
                f"{len(found) - _SHOWN} more images of the {split} split cannot be used either."
            )
    if problems:
        return list(problems)
    problems.extend(_private_problems(grid))
    if utility is not None:
        train, test = _labels_of_training(grid).values()
        problems.extend(utility.problems(train, test))
    return list(problems)


def largest_label(grid: AuditDataModule, utility: FederatedTraining | None) -> int:
    """The largest label of the splits that an audit reads.

    Also of images that it does not read: a client model for fewer classes than there are is not
    the one that was meant, whether or not the chosen images would fit it.

    Args:
        grid: The cases, set up.
        utility: The federated training, if there is one.

    Raises:
        UserError: If a label is negative.
    """
    splits = {grid.split: grid.labels}
    if utility is not None:
        splits |= _labels_of_training(grid)
    for split, labels in splits.items():
        if int(labels.min()) < 0:
            raise UserError(
                f"The {split} split has the label {int(labels.min())}: labels are numbered from 0."
            )
    return max(int(labels.max()) for labels in splits.values())


def private_indices(grid: AuditDataModule) -> list[int]:
    """Indices of the private images, ascending."""
    return sorted({index for spec in grid.cases.specs for index in spec.indices})


def private_images(grid: AuditDataModule) -> list[tuple[str, Tensor]]:
    """The private images ``(3, H, W)``, each with what it is called."""
    dataset = grid.image_data.dataset(grid.split)
    return [(f"{grid.split} image {index}", dataset[index][0]) for index in private_indices(grid)]


def public_problems(
    grid: AuditDataModule, image_size: int, private: Sequence[tuple[str, Tensor]]
) -> list[str]:
    """What is wrong of the images that attackers have, as `PublicImages.problems` says.

    Args:
        grid: The cases, set up, with public images.
        image_size: Of the images that are sought.
        private: Private images, each with what it is called.
    """
    assert grid.opened_public is not None
    return grid.opened_public.problems(grid.public_count, image_size, private)


def _labels_of_training(grid: AuditDataModule) -> dict[str, Tensor]:
    """All labels of the splits that federated training takes, the clients' first."""
    return {split: grid.image_data.labels(split) for split in ("train", "test")}


def _private_problems(grid: AuditDataModule) -> list[str]:
    dataset = grid.image_data.dataset(grid.split)
    problems: Sequence[str | None] = [
        _wrong_values(index, dataset[index][0]) for index in private_indices(grid)
    ]
    return [problem for problem in problems if problem is not None]


def _wrong_values(index: int, image: Tensor) -> str | None:
    if not torch.isfinite(image).all():
        return f"The private image {index} has infinite or undefined values: leave it out of idx."
    if image.abs().max() > 1 + _SLACK:
        return (
            f"The private image {index} has values from {image.min().item():.4g} to "
            f"{image.max().item():.4g}: the image data module must give images in [-1, 1]."
        )
    return None
