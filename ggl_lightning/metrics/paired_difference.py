"""The difference between two treatments of the same images."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import permutation_test
from torch import Tensor

from ggl_lightning.metrics.missing import MissingError
from ggl_lightning.metrics.resampling import batch, generator, mean_interval, resamples
from ggl_lightning.metrics.statistic import Statistic


class PairedDifference(Statistic):
    """Mean over images of ``a - b``, its 95% bootstrap interval and its p-value.

    ``compute`` returns ``mean``, ``low``, ``high`` (units of the values), ``p_value`` and
    ``count``, over the images that have both. The p-value is that of the two-sided permutation
    test that swaps ``a`` and ``b`` within images: exact up to 13 images, with random swaps
    beyond. It cannot be below ``2^(1 - N)`` with ``N`` images. One image has neither interval nor
    p-value.

    The two values of an image may be given on different ranks: an id pairs them. Several values
    under one id are averaged first.

    Args:
        **kwargs: For `torchmetrics.Metric`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_columns("a_ids", "a_values", "b_ids", "b_values")

    def update(self, ids: Tensor, a: Tensor | None = None, b: Tensor | None = None) -> None:
        """Adds images.

        Args:
            ids: Integers that tell images apart, ``(N,)``.
            a: The images' finite numbers under the first treatment, ``(N,)``, if known here.
            b: Likewise under the second.
        """
        if a is not None:
            self.extend(a_ids=ids, a_values=a)
        if b is not None:
            self.extend(b_ids=ids, b_values=b)

    def compute(self) -> dict[str, Tensor]:
        """The mean difference, its interval and its p-value.

        Raises:
            MissingError: If no image has both values.
        """
        a, b = self._means("a"), self._means("b")
        shared = sorted(a.keys() & b.keys())
        if not shared:
            raise MissingError("no image has both")
        self.missing = {}
        first = np.array([a[image] for image in shared])
        second = np.array([b[image] for image in shared])
        differences = first - second
        found = {"mean": float(differences.mean()), "count": len(shared)}
        try:
            found["low"], found["high"] = self._interval(np.sort(differences))
            found["p_value"] = _p_value(first, second)
        except MissingError as missing:
            self.missing = {"interval": missing.reason, "p_value": missing.reason}
        return self.tensors(found)

    def _interval(self, differences: np.ndarray) -> tuple[float, float]:
        """The mean's interval of differences ``(N,)`` in ascending order.

        Raises:
            MissingError: If there is none.
        """
        return mean_interval(differences)

    def _means(self, which: str) -> dict[float, float]:
        ids, values = self.column(f"{which}_ids"), self.column(f"{which}_values")
        order = np.lexsort((values, ids))  # one order of summation, whatever came first
        images, starts, counts = np.unique(ids[order], return_index=True, return_counts=True)
        if not len(images):
            return {}
        means = np.add.reduceat(values[order], starts) / counts
        return dict(zip(images.tolist(), means.tolist(), strict=True))


def _p_value(first: np.ndarray, second: np.ndarray) -> float:
    def mean_difference(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return (a - b).mean(axis=axis)

    return float(
        permutation_test(
            (first, second),
            mean_difference,
            permutation_type="samples",
            vectorized=True,
            n_resamples=resamples(len(first)),
            batch=batch(len(first)),
            rng=generator(),
        ).pvalue
    )
