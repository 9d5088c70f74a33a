"""What is known of a training's images before any of them is read."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from pytorch_lightning import LightningDataModule, Trainer
from torch import Tensor

from ggl_lightning.data.split_loaders import SplitLoaders
from ggl_lightning.problems import Problems


@dataclass(frozen=True)
class TrainingImages:
    """The images of a training.

    Attributes:
        image_size: Their height and width, in pixels.
        batch_size: Images per batch and device.
        drop_last: Whether training leaves out the last, smaller batch.
        labels: The train split's labels, ``(count,)``.
        valid_labels: The valid split's labels; None if nothing is validated.
        devices: How many devices share them.
    """

    image_size: int
    batch_size: int
    drop_last: bool
    labels: Tensor
    valid_labels: Tensor | None
    devices: int

    @property
    def per_device(self) -> int:
        """Images of the train split on each device; a few are repeated to even them out."""
        return math.ceil(len(self.labels) / self.devices)

    @property
    def batches(self) -> int:
        """Batches of an epoch on each device."""
        full, rest = divmod(self.per_device, self.batch_size)
        return full + (0 if self.drop_last or rest == 0 else 1)

    @property
    def smallest_batch(self) -> int:
        """Images in the smallest batch that training sees."""
        rest = self.per_device % self.batch_size
        return self.batch_size if self.drop_last or rest == 0 else rest

    @property
    def validation_batches(self) -> int:
        """Batches of a validation on each device."""
        if self.valid_labels is None:
            return 0
        return math.ceil(math.ceil(len(self.valid_labels) / self.devices) / self.batch_size)

    @property
    def all_labels(self) -> Tensor:
        """The labels of all images that are read."""
        valid = self.labels[:0] if self.valid_labels is None else self.valid_labels
        return torch.cat([self.labels, valid])


def images_of(
    data: LightningDataModule, trainer: Trainer | None, validates: bool, problems: Problems
) -> TrainingImages | None:
    """Reads off a data module what its images are like; decodes none.

    Args:
        data: The data module.
        trainer: Runs the training; None if it could not be built.
        validates: Whether there are validations.
        problems: Where to note what is missing.

    Returns:
        The images; None if they are incomplete, or the data module is not one of this package, so
        that they show in the first batch only.
    """
    if not isinstance(data, SplitLoaders):
        return None
    labels = problems.of(lambda: data.labels("train"))
    valid = problems.of(lambda: data.labels("valid")) if validates else None
    if labels is None or (validates and valid is None):
        return None
    return TrainingImages(
        image_size=data.image_size,
        batch_size=data.batch_size,
        drop_last=data.drop_last,
        labels=labels,
        valid_labels=valid,
        devices=1 if trainer is None else trainer.world_size,
    )
