"""What a client does to its images before the model sees them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ggl_lightning.errors import UserError, check_positive


class Augmentation(ABC):
    """Changes images, differentiably; what is random in it is drawn beforehand.

    Its public attributes are its parameters: they identify it in results.
    """

    def choices(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws what is random for ``count`` images: ``(count, ...)``; nothing by default."""
        return torch.empty(count, 0)

    @abstractmethod
    def __call__(self, images: Tensor, choices: Tensor) -> Tensor:
        """Changes images.

        Args:
            images: ``(B, 3, H, W)``; in ``[-1, 1]`` unless an earlier one has left that range.
            choices: What `choices` drew for them.

        Returns:
            New images ``(B, 3, H, W)``.
        """

    @property
    def random(self) -> bool:
        """Whether there is anything to draw."""
        return type(self).choices is not Augmentation.choices


class HorizontalFlip(Augmentation):
    """Mirrors each image left to right, or not.

    Args:
        probability: Of an image to be mirrored.

    Raises:
        UserError: If ``probability`` is not between 0 and 1.
    """

    def __init__(self, probability: float = 0.5) -> None:
        if not 0 <= probability <= 1:
            raise UserError(
                f"probability of the horizontal flip is {probability}: it must be between 0 and 1."
            )
        self.probability = probability

    def choices(self, count: int, generator: torch.Generator) -> Tensor:
        """Which images are mirrored: ``(count,)``, bool."""
        return torch.rand(count, generator=generator) < self.probability

    def __call__(self, images: Tensor, choices: Tensor) -> Tensor:
        """See `Augmentation.__call__`."""
        mirrored = choices.to(images.device)[:, None, None, None]
        return torch.where(mirrored, images.flip(-1), images)


class PaddedCrop(Augmentation):
    """Pads each image on all sides and cuts a random part of its size out of it.

    Args:
        padding: Pixels added on each side.
        fill: Their value. Black is -1 in images in ``[-1, 1]``; where `Normalisation` comes first,
            the usual value is 0.

    Raises:
        UserError: If ``padding`` is not positive.
    """

    def __init__(self, padding: int = 4, fill: float = -1.0) -> None:
        check_positive("padding of the padded crop", padding)
        self.padding = padding
        self.fill = fill

    def choices(self, count: int, generator: torch.Generator) -> Tensor:
        """Upper and left edge of each image's part: ``(count, 2)``, int64."""
        return torch.randint(2 * self.padding + 1, (count, 2), generator=generator)

    def __call__(self, images: Tensor, choices: Tensor) -> Tensor:
        """See `Augmentation.__call__`."""
        height, width = images.shape[-2:]
        padded = F.pad(images, [self.padding] * 4, value=self.fill)
        parts = [
            image[:, top : top + height, left : left + width]
            for image, (top, left) in zip(padded.unbind(0), choices.tolist(), strict=True)
        ]
        return torch.stack(parts)


class Normalisation(Augmentation):
    """Shifts and scales the channels by the client's own mean and standard deviation.

    Args:
        mean: Of each channel, of pixels in ``[0, 1]``.
        std: Likewise.

    Raises:
        UserError: If they are not three numbers each, or a deviation is not positive.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        for name, values in (("mean", mean), ("std", std)):
            if len(values) != 3:
                raise UserError(
                    f"{name} of the normalisation has {len(values)} numbers: it needs 3, one per "
                    "channel."
                )
        for value in std:
            check_positive("std of the normalisation", value)
        self.mean = list(mean)
        self.std = list(std)

    def __call__(self, images: Tensor, choices: Tensor) -> Tensor:
        """See `Augmentation.__call__`."""
        mean, std = (images.new_tensor(each)[:, None, None] for each in (self.mean, self.std))
        return ((images + 1) / 2 - mean) / std
