"""How much of what could leak did leak, beyond what needs no private image."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ggl_lightning.metrics.missing import MissingError
from ggl_lightning.metrics.resampling import bootstrap_interval, negligible
from ggl_lightning.metrics.statistic import Statistic

NOT_BEATEN = "the bound does not beat the null: nothing to measure leakage against"
BARELY_BEATEN = (
    "in some resamples of the images the bound does not beat the null: too few images, or too "
    "little between bound and null"
)


class NormalizedLeakage(Statistic):
    """``(attack - null) / (bound - null)`` of a metric, as a ratio of means over images.

    0: the attack is no better than the null, which saw nothing of the private image. 1: it is as
    good as the bound, which saw the image itself. Not clipped: noise goes below 0, and an attack
    that beats the bound above 1.

    ``compute`` returns ``value``, its 95% bootstrap interval ``low`` and ``high`` (BCa, Efron 1987;
    images are resampled with all three numbers), and ``count``. There is no interval for one image,
    nor if the bound fails to beat the null in a resample.

    Args:
        higher_is_better: Whether higher values of the metric are better for the attacker.
        **kwargs: For `torchmetrics.Metric`.
    """

    def __init__(self, higher_is_better: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sign = 1.0 if higher_is_better else -1.0
        self.add_columns("attack", "null", "bound")

    def update(self, attack: Tensor, null: Tensor, bound: Tensor) -> None:
        """Adds images.

        Args:
            attack: The metric of the attack, one finite number per image, ``(N,)``.
            null: Of the same images' null, ``(N,)``.
            bound: Of the same images' bound, ``(N,)``.
        """
        self.extend(attack=attack, null=null, bound=bound)

    def compute(self) -> dict[str, Tensor]:
        """The ratio and its interval.

        Raises:
            MissingError: If there was no image, or the bound is on average no better than the
                null.
        """
        columns = [self.sign * self.column(name) for name in ("attack", "null", "bound")]
        if not len(columns[0]):
            raise MissingError("no image has an attack, a null and a bound")
        order = np.lexsort(columns)  # one order, whatever came first
        attack, null, bound = (column[order] for column in columns)
        gained, possible = attack - null, bound - null
        scale = np.concatenate([attack, null, bound])
        if possible.mean() <= 0 or negligible(possible, scale):
            raise MissingError(NOT_BEATEN)
        self.missing = {}
        value = float(gained.mean() / possible.mean())
        found = {"value": value, "count": len(gained)}
        try:
            if len(gained) > 1 and negligible(gained - value * possible, scale):
                found["low"], found["high"] = value, value  # every resample gives it
            else:
                size = np.abs(possible).max()  # products must not underflow
                found["low"], found["high"] = bootstrap_interval(
                    (gained / size, possible / size), _ratio
                )
        except MissingError as missing:
            self.missing = {"interval": missing.reason}
        return self.tensors(found)


def _ratio(gained: np.ndarray, possible: np.ndarray, axis: int) -> np.ndarray:
    means = possible.mean(axis=axis)
    if (means <= 0).any():
        raise MissingError(BARELY_BEATEN)
    return gained.mean(axis=axis) / means
