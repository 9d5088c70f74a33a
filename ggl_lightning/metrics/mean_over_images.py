"""The base of metrics that are a mean of one number per image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class MeanOverImages(Metric):
    """Mean of one number per image over all images of all updates and ranks.

    Subclasses call `add` from ``update``. Both states are sums, so that ranks with different
    numbers of images weigh as they should. Before any image it is a `ValueError`, not NaN.
    """

    full_state_update = False
    higher_is_better: bool | None = False

    total: Tensor
    images: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def add(self, values: Tensor) -> None:
        """Adds images.

        Args:
            values: One number per image, ``(N,)``.
        """
        self.total += values.sum()
        self.images += len(values)

    def compute(self) -> Tensor:
        """The mean, a scalar.

        Raises:
            ValueError: If there was no image.
        """
        if self.images == 0:
            raise ValueError(f"{type(self).__name__} was computed before any image.")
        return self.total / self.images
