"""What keeps a searched latent near the prior's distribution."""

from __future__ import annotations

from enum import Enum

from torch import Tensor


class Regularizer(Enum):
    """A penalty on latents that the prior would hardly ever draw.

    * ``kl``: `kl_regularizer`, as published.
    * ``gaussian``: `gaussian_regularizer`, per coordinate.
    """

    kl = "kl"
    gaussian = "gaussian"

    def __call__(self, latents: Tensor) -> Tensor:
        """One value per latent: ``(C, *latent_shape)`` to ``(C,)``, differentiable."""
        return kl_regularizer(latents) if self is Regularizer.kl else gaussian_regularizer(latents)


def kl_regularizer(latents: Tensor) -> Tensor:
    """Distance of a latent's entries, taken as one sample, from the standard normal distribution.

    ``KL = -1/2 (1 + log(s^2 + 1e-10) - m^2 - s^2)`` with ``m`` and ``s`` the mean and the
    population standard deviation of the latent's entries (Li et al. 2022, section 3.3, as their
    published code computes it). Zero at ``m = 0, s = 1``.

    Args:
        latents: ``(C, *latent_shape)``.

    Returns:
        One value per latent, ``(C,)``, differentiable.
    """
    entries = latents.flatten(1)
    mean = entries.mean(dim=1)
    variance = entries.var(dim=1, correction=0)
    return -0.5 * (1 + (variance + 1e-10).log() - mean.square() - variance)


def gaussian_regularizer(latents: Tensor) -> Tensor:
    """Negative log-density under the prior ``N(0, I)``, per coordinate: ``0.5 mean(z^2)``.

    Unlike `kl_regularizer` it sees every coordinate: one entry of 10 among many zeros costs, even
    though the entries' mean and standard deviation may be those of a normal sample.

    Args:
        latents: ``(C, *latent_shape)``.

    Returns:
        One value per latent, ``(C,)``, differentiable.
    """
    return 0.5 * latents.flatten(1).square().mean(dim=1)
