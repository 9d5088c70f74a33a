"""A mean over images with its bootstrap interval."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ggl_lightning.metrics.missing import MissingError
from ggl_lightning.metrics.resampling import mean_interval
from ggl_lightning.metrics.statistic import Statistic


class BootstrapMean(Statistic):
    """Mean of one number per image, with a 95% bootstrap interval over images (BCa, Efron 1987).

    ``compute`` returns ``mean``, ``low``, ``high`` (units of the values) and ``count``. One image
    has no interval; equal values have one of width 0. The result does not depend on the order of
    the values, nor on which rank gave which.

    Args:
        **kwargs: For `torchmetrics.Metric`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_columns("values")

    def update(self, values: Tensor) -> None:
        """Adds images.

        Args:
            values: One finite number per image, ``(N,)``. Average repetitions of an image first:
                they are no independent images.
        """
        self.extend(values=values)

    def compute(self) -> dict[str, Tensor]:
        """The mean and its interval.

        Raises:
            MissingError: If there was no image.
        """
        values = np.sort(self.column("values"))
        if not len(values):
            raise MissingError("no image has a value")
        self.missing = {}
        found = {"mean": float(values.mean()), "count": len(values)}
        try:
            found["low"], found["high"] = mean_interval(values)
        except MissingError as missing:
            self.missing = {"interval": missing.reason}
        return self.tensors(found)
