"""The regression from updates to images, fitted on public images under one assumed label."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from ggl_lightning.attacks.learned.noise import noise_level
from ggl_lightning.attacks.learned.public import public_gradients
from ggl_lightning.attacks.learned.ridge import KernelRidge
from ggl_lightning.attacks.learned.weights import choose_weights
from ggl_lightning.attacks.matching.layer_rule import MatrixRule
from ggl_lightning.errors import UserError

_SCREENED = 800
"""Public images on which weights are chosen."""

_MOST_TENSORS = 6
_LEAST_SHARE = 0.01
"""Tensors whose weight is a smaller share of the whole are left out: each costs a Gram matrix."""

_STEPS_PER_OCTAVE = 2
"""Noise levels are rounded to so many steps per factor of 2, so that fits can be used again."""


@dataclass(frozen=True)
class Prediction:
    """What the regression says of an update.

    Attributes:
        image: ``(3, H, W)``, not clamped, float64.
        mse: The mean squared error it expects, by the leave-one-out errors of public images.
        noise: The standard deviation of the noise found in the update, per entry.
    """

    image: Tensor
    mse: float
    noise: float


class LearnedFit:
    """Kernel ridge regression from weight gradients to images.

    The kernel is a weighted sum of the cosines of single layers' weight gradients; weights, and
    with them the ridge, are those of the lowest leave-one-out error on public images. Noise of
    variance ``s^2`` per entry in a tensor of norm ``n`` is a ridge of ``N s^2 / n^2`` in its
    features alone (noise in the inputs is ridge regression: Bishop 1995), which comes to dividing
    the tensor's weight ``c`` by ``1 + N c s^2 / n^2``.

    Args:
        model: The client model, in eval mode, whose parameters need no gradients.
        rules: The layers that may be used, by name.
        images: Public images ``(M, 3, H, W)`` in ``[-1, 1]``, on the model's device.
        label: The label assumed for all.
        block_bytes: What a block of products may take.

    Raises:
        UserError: If there are fewer than 10 public images.
    """

    def __init__(
        self,
        model: nn.Module,
        rules: Mapping[str, MatrixRule],
        images: Tensor,
        label: int,
        block_bytes: int,
    ) -> None:
        if len(images) < 10:
            raise UserError(
                f"There are {len(images)} public images: a regression needs 10 at the least, and "
                "hundreds to be of use."
            )
        self._shape = images.shape[1:]
        self._targets = images.flatten(1).double().cpu()
        some = min(len(images), _SCREENED)
        screened = public_gradients(model, dict(rules), images[:some], label, block_bytes)
        self._ranks = {name: each.rank for name, each in screened.items()}
        grams = torch.stack([each.gram() for each in screened.values()])
        weights = dict(zip(screened, choose_weights(grams, self._targets[:some]), strict=True))
        kept = _strongest(weights)
        if some < len(images):
            del screened, grams
            chosen = {name: rules[name] for name in kept}
            self._public = public_gradients(model, chosen, images, label, block_bytes)
            self._grams = {name: each.gram() for name, each in self._public.items()}
        else:
            self._public = {name: screened[name] for name in kept}
            self._grams = {name: grams[list(screened).index(name)] for name in kept}
        few = torch.stack([gram[:some, :some] for gram in self._grams.values()])
        again = choose_weights(few, self._targets[:some])
        # With more examples each is trusted as before, and together they are trusted more.
        self.weights = dict(zip(kept, again.tolist(), strict=True))
        self._ridges: dict[tuple[int, ...], tuple[KernelRidge, tuple[float, float]]] = {}

    def predict(self, received: Mapping[str, Tensor]) -> Prediction:
        """Predicts the image behind an update.

        Args:
            received: The weights' gradients as received, by the names of all `rules`.
        """
        level = noise_level((received[name], rank) for name, rank in self._ranks.items())
        rows, ratios = {}, {}
        for name, public in self._public.items():
            tensor = received[name]
            signal = _signal(tensor, level, float(public.norms.median()) ** 2)
            rows[name] = public.rows(tensor) / math.sqrt(signal)
            ratios[name] = level**2 / signal
        steps = tuple(_step(ratios[name]) for name in self._public)
        ridge, (base, slope) = self._ridge(steps)
        weights = self._weights(steps)
        combined = sum(weights[name] * rows[name] for name in self._public)
        assert isinstance(combined, Tensor)
        image = ridge.predict(combined.unsqueeze(0))[0].unflatten(0, self._shape)
        own = torch.tensor([sum(weights.values())], dtype=torch.float64)
        variance = float(ridge.variances(combined.unsqueeze(0), own))
        return Prediction(image, base + slope * variance, level)

    @property
    def layers(self) -> list[str]:
        """The names of all layers whose gradients `predict` looks at."""
        return list(self._ranks)

    @cached_property
    def leave_one_out_mse(self) -> float:
        """Mean squared error per pixel of each public image by all others, without noise."""
        ridge, _ = self._ridge((_NO_NOISE,) * len(self._public))
        return float((ridge.leave_one_out() - self._targets).square().mean())

    def _weights(self, steps: tuple[int, ...]) -> dict[str, float]:
        count = len(self._targets)
        found = {}
        for name, step in zip(self._public, steps, strict=True):
            ratio = 0.0 if step == _NO_NOISE else 2.0 ** (step / _STEPS_PER_OCTAVE)
            found[name] = self.weights[name] / (1 + count * self.weights[name] * ratio)
        return found

    def _ridge(self, steps: tuple[int, ...]) -> tuple[KernelRidge, tuple[float, float]]:
        if steps not in self._ridges:
            weights = self._weights(steps)
            kernel = sum(weights[name] * gram for name, gram in self._grams.items())
            assert isinstance(kernel, Tensor)
            ridge = KernelRidge(kernel, self._targets, 1.0)
            self._ridges[steps] = (ridge, _calibration(ridge, self._targets))
        return self._ridges[steps]


_NO_NOISE = -10_000

_UNCERTAIN = 0.2
"""Relative error of a norm's square beyond which it is not taken from the received tensor."""

_LEVEL_ERROR = 0.01
"""Relative error of an estimated variance of noise."""


def _signal(tensor: Tensor, level: float, usual: float) -> float:
    """The squared norm that a tensor had before noise; the usual one where that cannot be told.

    Args:
        tensor: As received.
        level: The noise's standard deviation per entry.
        usual: The median of public images.
    """
    whole = float(tensor.double().square().sum())
    noise = level**2 * tensor.numel()
    left = whole - noise
    error = noise * (_LEVEL_ERROR + (2 / tensor.numel()) ** 0.5)
    if level > 0 and error > _UNCERTAIN * left:
        return usual
    return max(left, 1e-300)


def _step(ratio: float) -> int:
    if ratio <= 0:
        return _NO_NOISE
    return max(_NO_NOISE + 1, round(math.log2(ratio) * _STEPS_PER_OCTAVE))


def _strongest(weights: Mapping[str, Tensor]) -> list[str]:
    """The names of the tensors to keep, in the model's order."""
    whole = sum(float(weight) for weight in weights.values())
    strong = sorted(weights, key=lambda name: -float(weights[name]))[:_MOST_TENSORS]
    kept = {name for name in strong if float(weights[name]) >= _LEAST_SHARE * whole}
    return [name for name in weights if name in kept]


def _calibration(ridge: KernelRidge, targets: Tensor) -> tuple[float, float]:
    """Squared errors as a line in the variances, by least squares, both coefficients at least 0."""
    errors = (ridge.leave_one_out() - targets).square().mean(dim=1)
    variances = ridge.leave_one_out_variances()
    centred = variances - variances.mean()
    spread = float(centred.square().sum())
    slope = float((centred * errors).sum()) / spread if spread > 0 else 0.0
    slope = max(0.0, slope)
    base = float(errors.mean()) - slope * float(variances.mean())
    if base < 0:
        return 0.0, float((errors * variances).sum() / variances.square().sum())
    return base, slope
