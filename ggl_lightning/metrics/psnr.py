"""PSNR, with exact reconstructions among others."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torchmetrics.image import PeakSignalNoiseRatio

CEILING = 10 * math.log10(12 * 255**2)
"""Above this a PSNR, in dB, counts as this where a mean is taken: 58.92.

It is the PSNR of rounding to the 256 levels in which images are stored, a mean squared error of
1/12 level^2: what is nearer is the same picture. An exact reconstruction has an infinite PSNR,
which no mean can take; leaving it out would hide the worst leak.
"""

PUBLISHED_CEILING = CEILING - 20 * math.log10(2)
"""The same in the published convention, a peak of 1 on images in ``[-1, 1]``: 52.90."""


class PSNR(PeakSignalNoiseRatio):
    """Mean over images of each one's PSNR, in dB.

    Infinite if all images are exact. If only some are, values above the ceiling count as the
    ceiling.

    Args:
        data_range: As for torchmetrics' ``PeakSignalNoiseRatio``.
        ceiling: In dB.
        **kwargs: For `torchmetrics.Metric`.
    """

    def __init__(
        self, data_range: float | tuple[float, float], ceiling: float, **kwargs: Any
    ) -> None:
        super().__init__(data_range=data_range, reduction="none", dim=(1, 2, 3), **kwargs)
        self.ceiling = ceiling

    def compute(self) -> Tensor:
        """The mean, a scalar."""
        return mean_of_psnr(super().compute(), self.ceiling)


def mean_of_psnr(values: Tensor, ceiling: float) -> Tensor:
    """The mean of PSNRs, of which some may be infinite.

    Args:
        values: In dB, ``(N,)``.
        ceiling: What values above it count as, if some and not all of them are infinite.
    """
    infinite = values.isinf()
    if infinite.any() and not infinite.all():
        values = values.clamp(max=ceiling)
    return values.mean()
