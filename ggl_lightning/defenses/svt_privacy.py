"""NVFlare's sparse vector technique: a few entries, chosen and sent with noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ggl_lightning.clients import ClassifierLayer, Update
from ggl_lightning.defenses.base import ClientSide, Defense, TensorwiseAdaptation
from ggl_lightning.errors import UserError, check_non_negative, check_positive

_PASSES = 1000
"""Passes over the entries before the threshold counts as out of reach."""


class SVTPrivacy(Defense):
    """NVFlare's ``SVTPrivacy``, its form of the sparse vector technique (Lyu et al., VLDB 2017).

    Of the update divided by ``steps``, truncated to ``[-gamma, gamma]``, entries are accepted whose
    magnitude plus noise reaches a noisy threshold, in passes over those not yet accepted, until
    there are ``c = ceil(fraction * entries)``. From the accepted ones ``c`` are drawn at random;
    they are sent with noise, and everything else as zero. Tensors without dimensions are sent as
    they are. With Laplace noise throughout, and ``epsilon`` split as ``1 : (2c)^(2/3)`` unless its
    parts are given:

    - threshold: ``tau + Lap(gamma / epsilon_threshold)``;
    - comparison: ``Lap(2 c gamma / epsilon_query)``;
    - what is sent: ``Lap(2 c gamma / epsilon_release)``, by default ``epsilon_release = c *
      noise_var``.

    NVFlare reports the sum of the three epsilons as spent. ``guarantee()`` promises nothing: the
    technique's proof allows ``c`` accepted entries, while a pass may accept many more, and tests
    those again that were below the threshold.

    Settings are in the units of the update that is defended. NVFlare's are in those of a difference
    of weights: for an update that is a gradient, divide ``gamma`` and ``tau`` by the client's
    learning rate.

    Args:
        fraction: The share of entries to draw, above 0, at most 1.
        epsilon: For choosing entries.
        noise_var: Sets the noise on what is sent, unless ``epsilon_release`` does.
        gamma: The largest magnitude per step.
        tau: The threshold without noise.
        replace: Whether an entry may be drawn twice, so that fewer are sent.
        epsilon_threshold: The part of ``epsilon`` for the threshold.
        epsilon_query: The part for the comparisons.
        epsilon_release: For the noise on what is sent.
        steps: Local steps behind the update, as NVFlare's clients report them.

    Raises:
        UserError: If a number is out of its range, or the parts of ``epsilon`` are not its parts;
            when called, if the threshold is out of reach.
    """

    def __init__(
        self,
        fraction: float = 0.1,
        epsilon: float = 0.1,
        noise_var: float = 0.1,
        gamma: float = 1e-5,
        tau: float = 1e-6,
        replace: bool = True,
        epsilon_threshold: float | None = None,
        epsilon_query: float | None = None,
        epsilon_release: float | None = None,
        steps: int = 1,
    ) -> None:
        if not 0 < fraction <= 1:
            raise UserError(
                f"fraction of the SVT privacy defense is {fraction}: it must be above 0, at most 1."
            )
        for name, value in (
            ("epsilon", epsilon),
            ("noise_var", noise_var),
            ("gamma", gamma),
            ("epsilon_threshold", epsilon_threshold),
            ("epsilon_query", epsilon_query),
            ("epsilon_release", epsilon_release),
            ("steps", steps),
        ):
            if value is not None:
                check_positive(f"{name} of the SVT privacy defense", value)
        check_non_negative("tau of the SVT privacy defense", tau)
        self.fraction = fraction
        self.epsilon = epsilon
        self.noise_var = noise_var
        self.gamma = gamma
        self.tau = tau
        self.replace = replace
        self.epsilon_threshold = epsilon_threshold
        self.epsilon_query = epsilon_query
        self.epsilon_release = epsilon_release
        self.steps = steps
        self._epsilons(1)

    def __call__(self, update: Update, client: ClientSide) -> Update:
        """Returns the drawn entries with their noise, and zeros; everything is drawn on the CPU."""
        entries = torch.cat([tensor.detach().flatten() for tensor in update]).double()
        values = (entries / self.steps).clamp(-self.gamma, self.gamma)
        count = min(math.ceil(self.fraction * len(values)), len(values))
        accepted = self._accepted(values.abs(), count, client.generator)
        drawn = accepted[self._draw(len(accepted), count, client.generator).to(accepted.device)]
        epsilon_release = self.epsilon_release or count * self.noise_var
        noise = _laplace(len(drawn), 2 * self.gamma * count / epsilon_release, client.generator)
        sent = torch.zeros_like(values)
        sent[drawn] = (values[drawn] + noise.to(values.device)) * self.steps
        parts = sent.split([tensor.numel() for tensor in update])
        return [
            part.view_as(tensor).to(tensor.dtype) if tensor.dim() else tensor
            for part, tensor in zip(parts, update, strict=True)
        ]

    def adapt(self, received: Update, classifier: ClassifierLayer) -> KeepSent:
        """The attacker compares the entries that were sent, and no others.

        Neither the truncation nor the noise can be told from what it received.
        """
        return KeepSent(received)

    def _epsilons(self, count: int) -> tuple[float, float]:
        """The parts of epsilon for the threshold and for the comparisons."""
        threshold, query = self.epsilon_threshold, self.epsilon_query
        if threshold is None and query is None:
            threshold = self.epsilon / (1 + (2 * count) ** (2 / 3))
        if threshold is None:
            threshold = self.epsilon - (query or 0)
        if query is None:
            query = self.epsilon - threshold
        if min(threshold, query) <= 0 or not math.isclose(
            threshold + query, self.epsilon, rel_tol=1e-5
        ):
            raise UserError(
                f"epsilon_threshold {threshold} and epsilon_query {query} of the SVT privacy "
                f"defense must both be positive and add up to epsilon {self.epsilon}."
            )
        return threshold, query

    def _accepted(self, magnitudes: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Positions of at least ``count`` entries that reached the noisy threshold."""
        epsilon_threshold, epsilon_query = self._epsilons(count)
        noise = _laplace(1, self.gamma / epsilon_threshold, generator).item()
        threshold = self.tau + noise
        scale = 2 * self.gamma * count / epsilon_query
        accepted = torch.zeros_like(magnitudes, dtype=torch.bool)
        for _ in range(_PASSES):
            if int(accepted.sum()) >= count:
                return accepted.nonzero().flatten()
            noisy = magnitudes + _laplace(len(magnitudes), scale, generator).to(magnitudes.device)
            accepted |= noisy >= threshold
        raise UserError(
            f"The SVT privacy defense found {int(accepted.sum())} of {count} entries above its "
            f"threshold of {threshold:.3g} in {_PASSES} passes: lower tau, which is {self.tau}, or "
            "fraction, or raise gamma."
        )

    def _draw(self, accepted: int, count: int, generator: torch.Generator) -> Tensor:
        """Positions among the accepted entries, each once."""
        if not self.replace:
            return torch.randperm(accepted, generator=generator)[:count]
        # Of an entry that is drawn twice one noise is sent, so it may as well be drawn once.
        return torch.randint(accepted, (count,), generator=generator).unique()


class KeepSent(TensorwiseAdaptation):
    """Sets to zero the entries of a candidate's update that were not sent.

    Args:
        received: The received update; its share of nonzero entries is reported.
    """

    def __init__(self, received: Update) -> None:
        self._sent = [tensor != 0 for tensor in received]
        entries = sum(tensor.numel() for tensor in received)
        self.estimate = {"fraction": sum(int(sent.sum()) for sent in self._sent) / entries}

    def adapt_tensor(self, tensor: Tensor, index: int) -> Tensor:
        """Returns the tensor, with zeros where nothing was sent."""
        return tensor * self._sent[index]


def _laplace(count: int, scale: float, generator: torch.Generator) -> Tensor:
    """Draws from the Laplace distribution, ``(count,)`` in float64 on the CPU."""
    uniform = torch.rand(count, generator=generator, dtype=torch.float64) - 0.5
    # At -0.5, which occurs, the logarithm would be infinite.
    tail = (1 - 2 * uniform.abs()).clamp(min=torch.finfo(torch.float64).tiny)
    return -scale * uniform.sign() * tail.log()
