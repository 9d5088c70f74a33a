"""What keeps a searched latent near the prior's distribution."""

from __future__ import annotations

from torch import Tensor


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
