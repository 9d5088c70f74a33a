"""Which images of a split are the private ones."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from ggl_lightning.errors import UserError, check_non_negative, check_positive

_RANGE = re.compile(r"(\d+)-(\d+)(?::(\d+))?")


class ImageSelection(ABC):
    """A rule that picks private images; the same rule always picks the same ones."""

    @abstractmethod
    def indices(self, count: int, labels: Callable[[], Tensor]) -> list[int]:
        """Indices of the picked images.

        Args:
            count: Images in the split.
            labels: Reads the split's labels ``(count,)``.

        Raises:
            UserError: If the split does not have the images asked for.
        """


class RandomImages(ImageSelection):
    """Images drawn at random, without repeats.

    Args:
        count: How many.
        seed: Seeds the draw.

    Raises:
        UserError: If ``count`` is not positive or ``seed`` is negative.
    """

    def __init__(self, count: int, seed: int = 0) -> None:
        check_positive("count of RandomImages", count)
        check_non_negative("seed of RandomImages", seed)
        self.count = count
        self.seed = seed

    def indices(self, count: int, labels: Callable[[], Tensor]) -> list[int]:
        """See `ImageSelection.indices`."""
        if self.count > count:
            raise UserError(f"count of RandomImages is {self.count}, but the split has {count}.")
        return _shuffled(torch.arange(count), self.seed)[: self.count]


class ClassBalancedImages(ImageSelection):
    """As many random images of every class, classes taking turns.

    Args:
        per_class: How many of each.
        classes: Which classes; all that occur in the split if None.
        seed: Seeds the draw.

    Raises:
        UserError: If ``per_class`` is not positive, ``seed`` is negative, or ``classes`` is empty
            or lists one twice.
    """

    def __init__(self, per_class: int, classes: list[int] | None = None, seed: int = 0) -> None:
        check_positive("per_class of ClassBalancedImages", per_class)
        check_non_negative("seed of ClassBalancedImages", seed)
        if classes is not None and (not classes or len(set(classes)) < len(classes)):
            raise UserError(
                f"classes of ClassBalancedImages is {classes}: it must list at least one class, "
                "each once, or be null for all."
            )
        self.per_class = per_class
        self.classes = classes
        self.seed = seed

    def indices(self, count: int, labels: Callable[[], Tensor]) -> list[int]:
        """See `ImageSelection.indices`."""
        known = labels()
        classes = known.unique().tolist() if self.classes is None else self.classes
        columns = []
        for label in classes:
            members = (known == label).nonzero()[:, 0]
            if len(members) < self.per_class:
                raise UserError(
                    f"per_class of ClassBalancedImages is {self.per_class}, but the split has "
                    f"{len(members)} images of class {label}."
                )
            columns.append(_shuffled(members, self.seed)[: self.per_class])
        return [index for row in zip(*columns, strict=True) for index in row]


PrivateImages: TypeAlias = int | str | list[int | str] | ImageSelection
"""One index, a range ``first-last`` or ``first-last:step`` (ends included), a list of both, or a
rule."""


def select(
    wanted: PrivateImages, count: int, labels: Callable[[], Tensor], split: str
) -> list[int]:
    """Resolves what the user asked for to indices.

    Args:
        wanted: What was asked for.
        count: Images in the split.
        labels: Reads the split's labels ``(count,)``.
        split: The split's name, for messages.

    Raises:
        UserError: If nothing is selected, an image twice, or one that is not there.
    """
    if isinstance(wanted, ImageSelection):
        return wanted.indices(count, labels)
    indices = listed(wanted)
    outside = [index for index in indices if not 0 <= index < count]
    if outside:
        raise UserError(
            f"idx {', '.join(map(str, outside[:6]))} is out of range: the {split} split has "
            f"{count} images, numbered 0 to {count - 1}."
        )
    return indices


def listed(wanted: int | str | Sequence[int | str]) -> list[int]:
    """The indices of a list of indices and ranges.

    Raises:
        UserError: If it is empty, names an image twice, or has something else in it.
    """
    entries = [wanted] if isinstance(wanted, int | str) else wanted
    indices = [index for entry in entries for index in _range(entry)]
    if not indices or len(set(indices)) < len(indices):
        raise UserError(f"idx is {wanted}: it must list at least one value, each once.")
    return indices


def _range(entry: int | str) -> Sequence[int]:
    if isinstance(entry, int):
        return [entry]
    found = _RANGE.fullmatch(entry.strip())
    if found is None:
        raise UserError(
            f"idx has {entry!r}: expected an index, or a range such as '0-99' or '0-99:10'."
        )
    first, last, step = int(found[1]), int(found[2]), int(found[3] or 1)
    if last < first or step < 1:
        raise UserError(f"idx has {entry!r}: a range must not be empty, nor its step zero.")
    return range(first, last + 1, step)


def _shuffled(values: Tensor, seed: int) -> list[int]:
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(seed))
    return values[order].tolist()
