"""The base of statistics over images: numbers with an interval, reduced over ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric


class Statistic(Metric):
    """Something said of a sample of images, with a 95% interval where there can be one.

    ``compute`` returns a dict of scalar tensors. It raises `MissingError` if there is nothing to
    say. A part that alone cannot be had, such as the interval of one image, is left out of the
    dict and explained in `missing`; nothing is ever NaN.

    All states are float64, which holds integers up to 2^53 exactly, so that ranks which saw no
    image gather the same type as the others.

    Attributes:
        missing: What the last ``compute`` could not give, and why; ``interval`` stands for
            ``low`` and ``high``.
    """

    full_state_update = False
    is_differentiable = False

    missing: dict[str, str]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.set_dtype(torch.float64)
        self.missing = {}

    def add_columns(self, *names: str) -> None:
        """Adds states that hold every value given, concatenated over ranks."""
        for name in names:
            self.add_state(name, [], dist_reduce_fx="cat")

    def extend(self, **columns: Tensor) -> None:
        """Appends values to states of `add_columns`.

        Args:
            **columns: By the state's name ``(N,)``, all of one length.

        Raises:
            ValueError: If lengths differ or a value is not finite.
        """
        shapes = {tuple(values.shape) for values in columns.values()}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise ValueError(f"{type(self).__name__} got {sorted(shapes)}: expected equal (N,).")
        for name, values in columns.items():
            if not values.isfinite().all():
                raise ValueError(
                    f"{type(self).__name__} got values of {name} that are not finite: leave those "
                    "images out and say so."
                )
            getattr(self, name).append(values.detach().to(self.device, torch.float64))

    def column(self, name: str) -> np.ndarray:
        """All values of a state of `add_columns`, ``(N,)``, float64; empty before any."""
        state = getattr(self, name)
        parts = [state] if isinstance(state, Tensor) else state
        return np.concatenate([np.empty(0), *(part.cpu().numpy() for part in parts)])

    def tensors(self, values: Mapping[str, float]) -> dict[str, Tensor]:
        """The result of ``compute``: int64 for counts, float64 for the rest."""
        return {
            name: torch.tensor(value, device=self.device)
            if isinstance(value, int)
            else torch.tensor(value, dtype=torch.float64, device=self.device)
            for name, value in values.items()
        }
