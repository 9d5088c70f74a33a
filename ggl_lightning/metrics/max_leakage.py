"""What the strongest of several attacks gets, beside what the strongest gets by chance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

from ggl_lightning.metrics.missing import MissingError
from ggl_lightning.metrics.normalized_leakage import NOT_BEATEN
from ggl_lightning.metrics.resampling import CONFIDENCE, ONE_IMAGE, batch, generator, resamples
from ggl_lightning.metrics.statistic import Statistic

_ENUMERATED = 13
"""Up to so many images every exchange is tried: 8192 of 13."""

_ROUNDING = 1e-9


class MaxLeakage(Statistic):
    """The maximum over ``K`` attacks of a metric's mean, against the same maximum of their nulls.

    The best of several attacks is better than each, also by luck: it is compared with the best of
    the same attacks' nulls, all of the same images, never with one attack's. There may be several
    kinds of null; the strongest counts.

    ``compute`` returns

    * ``value``, ``low``, ``high``: the maximum over attacks of the mean over images, with a 95%
      percentile bootstrap interval (Efron 1979) in which the maximum is taken in every resample;
      ``best``, which attack that is;
    * ``null`` and ``null_kind``: the strongest null's maximum, and which kind it is of;
    * ``excess``, ``excess_low``, ``excess_high``: by how much the first is better for the attacker;
    * ``bound`` and ``leakage``, ``leakage_low``, ``leakage_high``: the excess over what the bound
      has of it;
    * ``p_value``: of the excess, one-sided, by exchanging attacks and nulls image by image (Fisher
      1935): if updates say nothing of their images, an image's results and those of its nulls are
      alike in all respects, whatever the attacks have in common. The largest over the kinds of
      null. Exact for any number of images; six are needed for one below 0.05 / 2;
    * ``count``.

    Args:
        higher_is_better: Whether higher values are better for the attacker.
        attacks: ``K``.
        kinds: How many kinds of null there are, ``R``.
        has_bound: Whether bounds are given.
        **kwargs: For `torchmetrics.Metric`.
    """

    def __init__(
        self,
        higher_is_better: bool,
        attacks: int,
        kinds: int,
        has_bound: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sign = 1.0 if higher_is_better else -1.0
        self.attacks = attacks
        self.kinds = kinds
        self.has_bound = has_bound
        self._names = [f"column_{i}" for i in range(attacks * (1 + kinds) + has_bound)]
        self.add_columns(*self._names)

    def update(self, attack: Tensor, null: Tensor, bound: Tensor | None = None) -> None:
        """Adds images.

        Args:
            attack: The metric of every attack, finite, ``(N, K)``.
            null: The same of their nulls, ``(N, R, K)``.
            bound: The best that any of them could do, ``(N,)``.

        Raises:
            ValueError: If shapes differ from what was said, or values are not finite.
        """
        parts = [attack, null.flatten(1)]
        if bound is not None:
            parts.append(bound.unsqueeze(1))
        columns = [column for part in parts for column in part.T]
        if len(columns) != len(self._names) or null.shape[1:] != (self.kinds, self.attacks):
            raise ValueError(
                f"MaxLeakage got {tuple(attack.shape)}, {tuple(null.shape)}: expected (N, "
                f"{self.attacks}), (N, {self.kinds}, {self.attacks})."
            )
        self.extend(**dict(zip(self._names, columns, strict=True)))

    def compute(self) -> dict[str, Tensor]:
        """The numbers named above.

        Raises:
            MissingError: If there was no image.
        """
        columns = self.sign * np.stack([self.column(name) for name in self._names], axis=1)
        if not len(columns):
            raise MissingError("no image has all attacks and their nulls")
        columns = columns[np.lexsort(columns.T)]  # one order, whatever came first
        self.missing = {}
        means = columns.mean(axis=0)
        best = int(means[: self.attacks].argmax())
        nulls = self._nulls(means)
        kind = int(nulls.argmax())
        value, null = float(means[best]), float(nulls[kind])
        found: dict[str, float] = {
            "value": self.sign * value,
            "best": best,
            "null": self.sign * null,
            "null_kind": kind,
            "excess": value - null,
            "p_value": self._p_value(columns),
            "count": len(columns),
        }
        if self.has_bound:
            found["bound"] = self.sign * float(means[-1])
            if means[-1] > null:
                found["leakage"] = (value - null) / float(means[-1] - null)
            else:
                self.missing["leakage"] = NOT_BEATEN
        self._add_intervals(found, columns)
        return self.tensors(found)

    def _nulls(self, means: np.ndarray) -> np.ndarray:
        """The maximum over attacks of each kind's means, ``(..., R)``."""
        of_kinds = means[..., self.attacks : self.attacks * (1 + self.kinds)]
        shape = (*means.shape[:-1], self.kinds, self.attacks)
        return of_kinds.reshape(shape).max(axis=-1)

    def _add_intervals(self, found: dict[str, float], columns: np.ndarray) -> None:
        if len(columns) == 1:
            self.missing["interval"] = ONE_IMAGE
            return
        means = np.concatenate([drawn @ columns for drawn in _draws(len(columns))])
        values = means[:, : self.attacks].max(axis=1)
        nulls = self._nulls(means).max(axis=1)
        ends = {"": self.sign * values, "excess_": values - nulls}
        if "leakage" in found:
            possible = means[:, -1] - nulls
            if (possible <= 0).any():
                self.missing["leakage_interval"] = "in some resamples the bound is below the null"
            else:
                ends["leakage_"] = (values - nulls) / possible
        for name, drawn in ends.items():
            tails = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
            found[f"{name}low"], found[f"{name}high"] = map(float, tails)

    def _p_value(self, columns: np.ndarray) -> float:
        attack = columns[:, : self.attacks]
        nulls = columns[:, self.attacks : self.attacks * (1 + self.kinds)]
        kinds = nulls.reshape(len(columns), self.kinds, self.attacks)
        return max(_exchanged(attack, kinds[:, kind]) for kind in range(self.kinds))


def _draws(count: int) -> Iterator[np.ndarray]:
    """Resamples of images as weights that sum to 1, ``(B, count)`` at a time."""
    rng, left = generator(), resamples(count)
    while left:
        some = min(left, batch(count))
        yield rng.multinomial(count, np.full(count, 1 / count), size=some) / count
        left -= some


def _exchanged(attack: np.ndarray, null: np.ndarray) -> float:
    """Share of exchanges of images' rows that give an excess as large as the one there is."""
    count = len(attack)
    change = (null - attack) / count
    ours, theirs = attack.mean(axis=0), null.mean(axis=0)
    observed = ours.max() - theirs.max()
    least = observed - _ROUNDING * np.abs(np.concatenate([ours, theirs])).max()
    as_large = tried = 0
    for exchanged in _exchanges(count):
        moved = exchanged @ change
        excess = (ours + moved).max(axis=1) - (theirs - moved).max(axis=1)
        as_large += int((excess >= least).sum())
        tried += len(exchanged)
    if count <= _ENUMERATED:
        return as_large / tried
    return (1 + as_large) / (1 + tried)


def _exchanges(count: int) -> Iterator[np.ndarray]:
    """Which images' rows are exchanged, 0 or 1, ``(B, count)`` at a time."""
    if count <= _ENUMERATED:
        yield ((np.arange(2**count)[:, None] >> np.arange(count)) & 1).astype(float)
        return
    rng, left = generator(), resamples(count)
    while left:
        some = min(left, batch(count))
        yield rng.integers(0, 2, (some, count)).astype(float)
        left -= some
