"""Differentially private SGD: every example's gradient clipped, then noise."""

from __future__ import annotations

import importlib.util
import math

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from ggl_lightning.clients import ClassifierLayer, Update, client_update, trainable_parameters
from ggl_lightning.defenses.base import Adaptation, ClientSide, Defense, Unchanged
from ggl_lightning.defenses.clipping import ClipToNorm, clip_factor, update_norm
from ggl_lightning.errors import UserError, check_non_negative, check_positive

_EXAMPLES_AT_ONCE = 8
"""Per-example gradients held at a time: bounds memory."""

# The median of |N(0, 1)|.
_MEDIAN_MAGNITUDE = 0.6744897501960817


class DPSGD(Defense):
    """One step of DP-SGD (Abadi et al., CCS 2016, algorithm 1).

    Each private image's own gradient is scaled by ``min(1, bound / (norm + 1e-6))``, as in Opacus;
    to their mean over the ``N`` images comes ``N(0, s^2)`` with ``s = noise_multiplier * bound /
    N``. It computes the images' gradients itself and ignores the update it is given, which must be
    their mean: local training of several steps has no such form.

    The guarantee is that of ``steps`` such updates, each from a batch into which every example of
    the client's data is drawn independently with probability ``sample_rate``: neighbouring data
    sets differ by one example more or less. With the defaults it covers the one update that is
    attacked.

    Args:
        bound: The largest norm of an image's gradient.
        noise_multiplier: Standard deviation of the noise on the sum, in units of ``bound``. 0 only
            clips and promises nothing.
        sample_rate: Probability of an example to be in a batch, for the guarantee.
        steps: Number of updates sent in all, for the guarantee.
        delta: Probability with which the guarantee may fail.

    Raises:
        UserError: If a parameter is out of its range, or the accountant library is missing; when
            called, if the update is not the mean of the images' gradients.
    """

    def __init__(
        self,
        bound: float = 1.0,
        noise_multiplier: float = 1.0,
        sample_rate: float = 1.0,
        steps: int = 1,
        delta: float = 1e-5,
    ) -> None:
        check_positive("bound of the DP-SGD defense", bound)
        check_non_negative("noise_multiplier of the DP-SGD defense", noise_multiplier)
        check_positive("steps of the DP-SGD defense", steps)
        if not 0 < sample_rate <= 1:
            raise UserError(
                f"sample_rate of the DP-SGD defense is {sample_rate}: it must be a probability "
                "above 0, at most 1."
            )
        if not 0 < delta < 1:
            raise UserError(
                f"delta of the DP-SGD defense is {delta}: it must be a probability between 0 and "
                "1, usually well below one over the number of examples."
            )
        if noise_multiplier > 0 and importlib.util.find_spec("opacus") is None:
            raise UserError(
                "The DP-SGD defense computes its privacy guarantee with opacus, which is not "
                "installed: install it with pip install 'ggl-lightning[dp]'."
            )
        self.bound = bound
        self.noise_multiplier = noise_multiplier
        self.sample_rate = sample_rate
        self.steps = steps
        self.delta = delta

    @property
    def replaces_update(self) -> bool:
        """True: gradients are clipped image by image, before they become one update."""
        return True

    @property
    def hides_scale(self) -> bool:
        """True: an update is scaled by what its norm is above the bound."""
        return True

    def norm_bound(self, before: float | None) -> float | None:
        """The bound without noise, since a mean is no longer than its longest member."""
        return self.bound if self.noise_multiplier == 0 else None

    def noise_multiplier_after(self, before: float | None) -> float | None:
        """The noise multiplier: that of one image's part in the sum, whatever the others are."""
        return self.noise_multiplier or None

    def __call__(self, update: Update, client: ClientSide) -> Update:
        """Returns the noisy mean of the clipped gradients; noise is drawn on the CPU."""
        clipped = self._clipped_mean(update, client)
        std = self.noise_multiplier * self.bound / len(client.images)
        return [tensor + std * _standard_normal(tensor, client.generator) for tensor in clipped]

    def adapt(self, received: Update, classifier: ClassifierLayer) -> Adaptation:
        """The attacker estimates noise and bound, and clips candidates if it found a bound.

        The noise's standard deviation ``s`` is read off the median absolute deviation of the
        entries, most of which are nearly zero without noise. What the noise leaves of the norm,
        ``sqrt(max(||y||^2 - d s^2, 0))`` for ``d`` entries, is the bound. Its square is uncertain
        by about ``1.8 s^2 sqrt(d)``: in a large model any but tiny noise hides it, and with an
        estimate of zero candidates are left as they are. With several images the bound estimate is
        too low, since a mean is shorter than what it is taken of.
        """
        noise_std, bound = estimate_noise_and_bound(received)
        estimate = {"bound": bound, "noise_std": noise_std}
        return ClipToNorm(bound, estimate) if bound > 0 else Unchanged(estimate)

    def guarantee(self) -> dict[str, float]:
        """``(epsilon, delta)``-differential privacy of `steps` updates; empty without noise.

        From the Renyi divergence of the subsampled Gaussian mechanism (Mironov et al. 2019, arXiv
        1908.10530), converted as in Balle et al. 2020 (arXiv 1905.09982, theorem 21), by Opacus.
        """
        if self.noise_multiplier == 0:
            return {}
        # Only here: importing it takes more than a second.
        from opacus.accountants import RDPAccountant
        from opacus.accountants.analysis import rdp

        orders = RDPAccountant.DEFAULT_ALPHAS
        divergences = rdp.compute_rdp(
            q=self.sample_rate,
            noise_multiplier=self.noise_multiplier,
            steps=self.steps,
            orders=orders,
        )
        epsilon, _ = rdp.get_privacy_spent(orders=orders, rdp=divergences, delta=self.delta)
        return {"epsilon": float(epsilon), "delta": self.delta}

    def _clipped_mean(self, update: Update, client: ClientSide) -> Update:
        count = len(client.images)
        clipped_mean = [torch.zeros_like(tensor) for tensor in update]
        mean_norm = torch.zeros_like(update[0].flatten()[0])
        chunks = zip(
            client.images.split(_EXAMPLES_AT_ONCE),
            client.labels.split(_EXAMPLES_AT_ONCE),
            strict=True,
        )
        for images, labels in chunks:
            gradients = per_example_gradients(client.model, images, labels)
            norms = _example_norms(gradients)
            mean_norm += norms.sum() / count
            factors = clip_factor(norms, self.bound)
            for i, gradient in enumerate(gradients):
                clipped_mean[i] += torch.tensordot(factors, gradient, dims=1) / count
        # Far above rounding, far below what another rule or an earlier defense would change.
        # Rounding is that of the images' gradients, whose mean may nearly cancel.
        plain = client_update(client.model, client.images, client.labels)
        difference = update_norm([a - b for a, b in zip(plain, update, strict=True)])
        if difference > 0.01 * mean_norm:
            raise UserError(
                "The DP-SGD defense needs the plain gradient of the client's images in eval mode, "
                "but was given another update: let the client send one gradient (PlainGradient), "
                "not the result of several local steps, and put DP-SGD before all other defenses."
            )
        return clipped_mean


def per_example_gradients(model: nn.Module, images: Tensor, labels: Tensor) -> list[Tensor]:
    """The gradient of the cross-entropy of every single image, in one vectorised pass.

    Args:
        model: The client model, in eval mode.
        images: ``(N, 3, H, W)``.
        labels: ``(N,)``.

    Returns:
        One tensor ``(N, *shape)`` per trainable parameter, in ``model.parameters()`` order.
    """
    trainable = trainable_parameters(model)
    parameters = {name: parameter.detach() for name, parameter in trainable.items()}

    def loss(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        logits = functional_call(model, weights, image.unsqueeze(0))
        return F.cross_entropy(logits, label.unsqueeze(0))

    gradients = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, images, labels)
    return [gradients[name].detach() for name in parameters]


def estimate_noise_and_bound(received: Update) -> tuple[float, float]:
    """Standard deviation of the noise, and the norm without it; see `DPSGD.adapt`."""
    entries = torch.cat([tensor.flatten() for tensor in received])
    deviations = (entries - entries.median()).abs()
    noise_std = deviations.median().item() / _MEDIAN_MAGNITUDE
    square = update_norm(received).item() ** 2 - len(entries) * noise_std**2
    return noise_std, math.sqrt(max(square, 0.0))


def _example_norms(gradients: list[Tensor]) -> Tensor:
    """The norm of each example's gradient over all tensors, ``(N,)``."""
    return vmap(update_norm)(gradients)


def _standard_normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=like.dtype).to(like.device)
