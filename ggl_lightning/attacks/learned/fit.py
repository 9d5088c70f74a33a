"""The regression from updates to images, fitted on public images under one assumed label."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ggl_lightning.attacks.learned.examples import Examples, Gram
from ggl_lightning.attacks.learned.ridge import KernelRidge, centred, left_out_residuals
from ggl_lightning.attacks.learned.selection import SCREENED, noise_ratios, select_tensors
from ggl_lightning.attacks.learned.weights import choose_weights, principal

_STEPS_PER_OCTAVE = 2
"""Noise levels are rounded to so many steps per factor of 2, so that regressions serve again."""

_SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""By which weights chosen on some public images are tried for all of them."""

_HELD = 2
"""Regressions kept in memory at least."""

_HELD_BYTES = 2**29
"""What more of them may take: an audit goes through all its levels of noise for each image, and a
level is several, since the sizes of updates differ."""

_DOUBT_LEFT = 0.25
"""Share of its doubt that a scale is taken for at the least."""

_LEVEL_ERROR = 0.01
"""Relative error of an estimated variance of noise."""


_LEAST_COMMON = 1e-12
"""What updates are taken to have in common at the least, since it is divided by."""

_HIDDEN = 0.2
"""What noise does to a norm, relative to it, beyond which it hides the norm: what noise alone would
come to by chance must not be taken for one."""


@dataclass(frozen=True)
class Prediction:
    """What the regression says of an update.

    Attributes:
        image: ``(3, H, W)``, not clamped, float64.
        mse: The mean squared error per pixel that it expects.
        leave_one_out_mse: The same of public images, with the update's noise.
        noise: The standard deviation of the noise found in the update, per entry.
        scale: The update's size before noise, relative to public images' updates.
        weights: Of the tensors, by name.
    """

    image: Tensor
    mse: float
    leave_one_out_mse: float
    noise: float
    scale: float
    weights: Mapping[str, float]


@dataclass(frozen=True)
class _Regression:
    """Ridge regression for one level of noise."""

    ridge: KernelRidge
    weights: Mapping[str, float]
    spread: Mapping[str, float]  # tr(a^T K_l a), what noise in a tensor's features is multiplied by
    leave_one_out: float
    line: tuple[float, float]  # squared errors by variances: base and slope


class LearnedFit:
    """Kernel ridge regression from updates to images.

    The kernel is a weighted sum of the cosines of single parameter tensors. Tensors, their weights
    and the ridge are those of the lowest expected error on public images (`choose_weights`): their
    leave-one-out error, and what noise such as the received update's adds. They are chosen on some
    of the images, and their scale, which is the ridge's, on all. A tensor's size before noise
    is estimated from its norm or, if noise hides that, from the part of it that all updates have
    in common.

    Args:
        examples: The updates of ``M`` public images.
        images: The images ``(M, 3, H, W)`` in ``[-1, 1]``.
        kept: What `make` made of the same.
        twins: Successive images that are left out together, see `left_out_residuals`.
    """

    def __init__(
        self, examples: Examples, images: Tensor, kept: Mapping[str, Tensor], twins: int = 1
    ) -> None:
        self._examples = examples
        self._shape = images.shape[1:]
        self._targets = images.flatten(1).double().cpu()
        self._twins = twins
        names = [examples.names[int(index)] for index in kept["tensors"]]
        self._grams = {name: Gram(kept[f"cosines/{name}"], kept[f"norms/{name}"]) for name in names}
        self._common = {
            name: max(float(gram.cosines.mean()), _LEAST_COMMON)
            for name, gram in self._grams.items()
        }
        self._shares = {
            name: float(gram.cosines.mean(dim=1).std()) for name, gram in self._grams.items()
        }
        self._regressions: OrderedDict[int | None, _Regression] = OrderedDict()
        self._held = max(_HELD, _HELD_BYTES // self._targets.nbytes)
        examples.prepare(names)

    @staticmethod
    def make(
        examples: Examples, images: Tensor, twins: int, memory_bytes: int
    ) -> dict[str, Tensor]:
        """Chooses tensors, and computes the inner products of all public images in them.

        Args:
            examples: The updates of the public images.
            images: The images.
            twins: Successive images that are left out together.
            memory_bytes: Bound on what is kept.

        Returns:
            ``tensors``, ``(L,)``: places of the chosen tensors in ``examples.names``;
            ``cosines/NAME`` ``(M, M)`` and ``norms/NAME`` ``(M,)`` for each.
        """
        targets = images.flatten(1).double().cpu()
        names = select_tensors(examples, targets, twins, memory_bytes)
        kept = {"tensors": torch.tensor([list(examples.names).index(name) for name in names])}
        for name, gram in examples.grams(names).items():
            kept[f"cosines/{name}"], kept[f"norms/{name}"] = gram.cosines, gram.norms
        return kept

    def predict(
        self, received: Mapping[str, Tensor], noise: float, is_scaled: bool = False
    ) -> Prediction:
        """Predicts the image behind an update.

        Args:
            received: The tensors as received, by the names of the examples.
            noise: The standard deviation of the noise in them, per entry.
            is_scaled: Whether the update may have been scaled before the noise was added, so that
                public images' updates do not tell its size.
        """
        rows = {
            name: self._examples.rows(name, received[name]) / gram.norms
            for name, gram in self._grams.items()
        }
        sizes, scale = self._sizes(received, rows, noise, is_scaled)
        regression = self._regression(noise / scale if noise > 0 else 0.0)
        weights = regression.weights
        combined = torch.stack([weights[n] * rows[n] / sizes[n] for n in rows]).sum(dim=0)
        image = regression.ridge.predict(combined.unsqueeze(0))[0].unflatten(0, self._shape)
        if noise > 0:
            pixels = self._targets.shape[1]
            added = sum(
                weights[n] ** 2 * (noise / sizes[n]) ** 2 * regression.spread[n] for n in weights
            )
            mse = regression.leave_one_out + added / pixels
        else:
            own = torch.tensor([sum(weights.values())], dtype=torch.float64)
            variance = float(regression.ridge.variances(combined.unsqueeze(0), own))
            mse = regression.line[0] + regression.line[1] * variance
        return Prediction(image, mse, regression.leave_one_out, noise, scale, weights)

    def left_out(
        self, places: Sequence[int], noise: float, drawn: Sequence[Mapping[str, Tensor]]
    ) -> Tensor:
        """What public images are predicted to be by the regression on all others.

        What noise does to a prediction is taken from the regression on all images.

        Args:
            places: Of the images.
            noise: The standard deviation of the noise in a received update, per entry.
            drawn: The noise in each one's update, by tensor; without noise nothing is looked at.

        Returns:
            ``(len(places), 3, H, W)``, not clamped, float64.
        """
        # Of regressions under noise only what predicts is kept.
        regression = self._fitted(noise, forgets=False) if noise > 0 else self._regression(0.0)
        found = regression.ridge.leave_one_out()[list(places)]
        regression.ridge.forget_inverse()
        if noise > 0:
            for image, place, added in zip(found, places, drawn, strict=True):
                rows = [
                    regression.weights[name]
                    * self._examples.rows(name, added[name])
                    / gram.norms
                    / gram.norms[place]
                    for name, gram in self._grams.items()
                ]
                image += regression.ridge.slope(torch.stack(rows).sum(dim=0))
        return found.unflatten(1, self._shape)

    def noise_left(self, received: Mapping[str, Tensor]) -> float:
        """Noise by what a received update's norm has beyond what its common part accounts for.

        It is coarse, since updates have more or less in common: for client models whose tensors all
        have full rank, where nothing else tells.

        Args:
            received: As in `predict`.

        Returns:
            The standard deviation per entry; 0 if the norm is within what is usual.
        """
        excess = weight = doubt = 0.0
        for name, gram in self._grams.items():
            seen = self._examples.seen_of(name, received[name]).double()
            rows = self._examples.rows(name, received[name]) / gram.norms
            common = self._common[name]
            # Its expectation is the squared norm plus the noise's variance over what is in common.
            square = (float(rows.mean()) / common) ** 2
            entries = seen.numel() - 1 / common
            trust = entries / (seen.numel() + 1 / common**2)  # as least squares would have it
            excess += trust * (float(seen.square().sum()) - square)
            doubt += (trust * 2 * self._shares[name] / common * square) ** 2
            weight += trust * entries
        return (excess / weight) ** 0.5 if excess > 3 * doubt**0.5 else 0.0

    def _sizes(
        self,
        received: Mapping[str, Tensor],
        rows: Mapping[str, Tensor],
        noise: float,
        is_scaled: bool,
    ) -> tuple[dict[str, float], float]:
        """The norms that the entries looked at had before noise, and their scale.

        The scale is the median of the norms over those of public images. Where noise hides all
        norms, they are taken for those of public images, times the scale of what all tensors
        together have in common with them, if there may have been a scaling.
        """
        known = {name: self._size(name, received[name], rows[name], noise) for name in rows}
        usual = {name: float(gram.norms.median()) for name, gram in self._grams.items()}
        ratios = [size / usual[name] for name, size in known.items() if size is not None]
        if ratios:
            scale = float(torch.tensor(ratios).double().median())
        else:
            scale = self._common_scale(rows, usual, noise) if is_scaled else 1.0
        sizes = {n: usual[n] * scale if size is None else size for n, size in known.items()}
        return sizes, scale

    def _common_scale(
        self, rows: Mapping[str, Tensor], usual: Mapping[str, float], noise: float
    ) -> float:
        """The scale by what is found of the part that all updates have in common.

        Each tensor's estimate has noise of variance ``(noise / usual)^2 / common``, by which they
        are averaged. The variance of the average is taken from its square, which it is too large
        by. What is left may be nothing: an update as small as a part of its own doubt tells
        nothing.
        """
        trust = {n: (usual[n] / noise) ** 2 * self._common[n] for n in rows}
        found = sum(trust[n] * float(rows[n].mean()) / self._common[n] / usual[n] for n in rows)
        total = sum(trust.values())
        doubt = total**-0.5
        along = max(0.0, found / total)
        return max(along**2 - doubt**2, (_DOUBT_LEFT * doubt) ** 2) ** 0.5

    def _size(self, name: str, received: Tensor, rows: Tensor, noise: float) -> float | None:
        """The norm of one tensor; None if noise hides it."""
        seen = self._examples.seen_of(name, received).double()
        whole = float(seen.square().sum())
        if noise == 0:
            return max(whole**0.5, 1e-150)
        added = noise**2 * seen.numel()
        left = whole - added
        doubt = added * (_LEVEL_ERROR + (2 / seen.numel()) ** 0.5)
        by_norm = doubt / (2 * left) if left > 0 else math.inf
        # All updates have a share of their mean in common: what is found of it gives the scale.
        common = self._common[name]
        along = float(rows.mean()) / common
        blurred = noise / (along * common**0.5) if along > 0 else math.inf
        by_share = self._shares[name] / common + blurred
        if by_norm > _HIDDEN and blurred > _HIDDEN:
            return None
        return left**0.5 if by_norm <= by_share else along

    def _regression(self, noise: float) -> _Regression:
        """For a level of noise in the examples' own scale."""
        step = None if noise == 0 else round(math.log2(noise) * _STEPS_PER_OCTAVE)
        if step not in self._regressions:
            level = 0.0 if step is None else 2.0 ** (step / _STEPS_PER_OCTAVE)
            while len(self._regressions) >= self._held:
                self._regressions.popitem(last=False)
            self._regressions[step] = self._fitted(level)
        self._regressions.move_to_end(step)
        return self._regressions[step]

    def _fitted(self, noise: float, forgets: bool = True) -> _Regression:
        names, twins = list(self._grams), self._twins
        some = min(len(self._targets), SCREENED // twins * twins)
        few = torch.stack([self._grams[name].cosines[:some, :some] for name in names])
        ratios = noise_ratios(self._grams, names, noise)
        choice = choose_weights(few, self._targets[:some], ratios, twins)
        weights = self._scaled(choice.weights, ratios)
        kernel = torch.zeros_like(self._grams[names[0]].cosines, dtype=torch.float64)
        for weight, name in zip(weights.tolist(), names, strict=True):
            kernel += weight * self._grams[name].cosines
        ridge = KernelRidge(kernel, self._targets, 1.0, twins)
        errors = (ridge.leave_one_out() - self._targets).square().mean(dim=1)
        line = _line(ridge.leave_one_out_variances(), errors)
        if forgets:
            ridge.forget_inverse(factor=noise > 0)  # without noise predictions ask for variances
        spread = dict.fromkeys(names, 0.0)
        if noise > 0:
            for name in names:
                spread[name] = _spread(self._grams[name].cosines, ridge.coefficients)
        named = dict(zip(names, weights.tolist(), strict=True))
        return _Regression(ridge, named, spread, float(errors.mean()), line)

    def _scaled(self, weights: Tensor, ratios: Tensor) -> Tensor:
        """The weights at the scale of the lowest expected error on all public images."""
        if len(self._targets) <= SCREENED:
            return weights
        reduced = principal(self._targets)
        cosines = [gram.cosines for gram in self._grams.values()]
        kernel = torch.zeros_like(cosines[0], dtype=torch.float64)
        for weight, each in zip(weights.tolist(), cosines, strict=True):
            kernel += weight * centred(each.double())
        noisy = bool(ratios.any())
        errors = []
        for scale in _SCALES:
            factor = torch.linalg.cholesky(
                (scale * kernel).add_(torch.eye(len(kernel), dtype=kernel.dtype))
            )
            inverse = torch.cholesky_inverse(factor)
            coefficients = inverse @ (reduced - reduced.mean(dim=0))
            residuals = left_out_residuals(inverse, coefficients, 1.0, self._twins)
            error = float(residuals.square().sum()) / len(reduced)
            if noisy:
                error += sum(
                    float((scale * c) ** 2 * r) * _spread(each, coefficients)
                    for c, r, each in zip(weights, ratios, cosines, strict=True)
                )
            errors.append(error)
        return weights * _SCALES[errors.index(min(errors))]


def _spread(cosines: Tensor, coefficients: Tensor) -> float:
    """``tr(a^T K a)`` with the centred kernel."""
    return float((coefficients * (centred(cosines.double()) @ coefficients)).sum())


def _line(variances: Tensor, errors: Tensor) -> tuple[float, float]:
    """Squared errors as a line in the variances, by least squares, both coefficients at least 0."""
    middle = variances - variances.mean()
    spread = float(middle.square().sum())
    slope = max(0.0, float((middle * errors).sum()) / spread if spread > 0 else 0.0)
    base = float(errors.mean()) - slope * float(variances.mean())
    if base < 0:
        return 0.0, float((errors * variances).sum() / variances.square().sum())
    return base, slope
