"""Local differential privacy as Flower has it: the update is clipped, and noise is added."""

from __future__ import annotations

import math

from torch import Tensor

from ggl_lightning.clients import ClassifierLayer, Update
from ggl_lightning.defenses.base import Adaptation, ClientSide, Defense, Unchanged
from ggl_lightning.defenses.clipping import ClipToNorm, update_norm
from ggl_lightning.defenses.dp_sgd import estimate_noise_and_bound
from ggl_lightning.defenses.noise import Noise
from ggl_lightning.errors import UserError, check_non_negative, check_positive


class LocalDP(Defense):
    """Flower's ``LocalDpMod``: clips the whole update, and adds noise to every entry.

    The update is scaled by ``min(1, clipping_norm / ||update||_2)``, then every entry gets
    ``N(0, s^2)`` with ``s = sensitivity * sqrt(2 ln(1.25 / delta)) / epsilon`` (the Gaussian
    mechanism: Dwork and Roth 2014, theorem A.1). Flower treats buffers as it does parameters; here
    they are no part of an update.

    Settings are in the units of the update that is defended. Flower's are in those of a difference
    of weights: for an update that is a gradient, divide ``clipping_norm`` and ``sensitivity`` by
    the client's learning rate.

    Args:
        clipping_norm: The largest norm before the noise.
        sensitivity: What the noise is scaled by. Two clipped updates lie up to twice the
            ``clipping_norm`` apart.
        epsilon: Privacy that the noise is scaled for.
        delta: Probability with which it may fail.

    Raises:
        UserError: If a number is out of its range.
    """

    def __init__(
        self,
        clipping_norm: float = 1.0,
        sensitivity: float = 2.0,
        epsilon: float = 1.0,
        delta: float = 1e-5,
    ) -> None:
        check_positive("clipping_norm of the local DP defense", clipping_norm)
        check_non_negative("sensitivity of the local DP defense", sensitivity)
        check_positive("epsilon of the local DP defense", epsilon)
        if not 0 < delta < 1:
            raise UserError(
                f"delta of the local DP defense is {delta}: it must be a probability between 0 and "
                "1."
            )
        self.clipping_norm = clipping_norm
        self.sensitivity = sensitivity
        self.epsilon = epsilon
        self.delta = delta

    @property
    def hides_scale(self) -> bool:
        """True: an update is scaled by what its norm is above the bound."""
        return True

    def norm_bound(self, before: float | None) -> float | None:
        """The clipping norm without noise, or what the update has anyway."""
        if self._noise_std() > 0:
            return None
        return self.clipping_norm if before is None else min(self.clipping_norm, before)

    def noise_multiplier_after(self, before: float | None) -> float | None:
        """That of the noise over the clipping norm, or over a smaller norm given."""
        norm = self.clipping_norm if before is None else min(self.clipping_norm, before)
        return self._noise_std() / norm if norm > 0 and self._noise_std() > 0 else None

    def __call__(self, update: Update, client: ClientSide) -> Update:
        """Returns the clipped update plus noise, which is drawn on the CPU."""
        factor = _factor(update_norm(update), self.clipping_norm)
        clipped = [tensor * factor.to(tensor.dtype) for tensor in update]
        return Noise(self._noise_std())(clipped, client)

    def adapt(self, received: Update, classifier: ClassifierLayer) -> Adaptation:
        """The attacker estimates noise and bound as for `DPSGD`, and clips if it found a bound."""
        noise_std, bound = estimate_noise_and_bound(received)
        estimate = {"clipping_norm": bound, "noise_std": noise_std}
        return ClipToNorm(bound, estimate) if bound > 0 else Unchanged(estimate)

    def guarantee(self) -> dict[str, float]:
        """The ``epsilon`` that the noise truly gives at ``delta``; empty without noise.

        Any two updates count as neighbours, so the sensitivity is ``2 * clipping_norm``, whatever
        was set. Exact for Gaussian noise: Balle and Wang 2018 (arXiv 1805.06530), theorem 8.
        """
        std = self._noise_std()
        if std == 0:
            return {}
        return {
            "epsilon": gaussian_epsilon(2 * self.clipping_norm / std, self.delta),
            "delta": self.delta,
        }

    def _noise_std(self) -> float:
        return self.sensitivity * math.sqrt(2 * math.log(1.25 / self.delta)) / self.epsilon


def gaussian_epsilon(distance: float, delta: float) -> float:
    """The smallest epsilon of the Gaussian mechanism at a delta.

    It is the root of ``delta = Phi(d / 2 - epsilon / d) - e^epsilon Phi(-d / 2 - epsilon / d)``
    (Balle and Wang 2018, arXiv 1805.06530, theorem 8), which falls with epsilon.

    Args:
        distance: Sensitivity in standard deviations of the noise, ``d``.
        delta: Probability with which it may fail, between 0 and 1.

    Returns:
        Epsilon, not negative; to a relative error of 1e-9, from above.
    """
    # Only here: importing it takes a second.
    from scipy.special import log_ndtr

    def delta_of(epsilon: float) -> float:
        far = epsilon + log_ndtr(-distance / 2 - epsilon / distance)
        return math.exp(log_ndtr(distance / 2 - epsilon / distance)) - math.exp(min(far, 0.0))

    low, high = 0.0, 1.0
    if delta_of(0) <= delta:
        return 0.0
    while delta_of(high) > delta:
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(middle) > delta else (low, middle)
    return high


def _factor(norm: Tensor, bound: float) -> Tensor:
    """``min(1, bound / norm)``, and 1 for an update of zeros, on which Flower's code fails."""
    return (bound / norm.clamp(min=bound)).clamp(max=1.0)
