"""NVFlare's Gaussian privacy: noise in proportion to the update's large entries."""

from __future__ import annotations

import torch
from torch import Tensor

from ggl_lightning.clients import ClassifierLayer, Update
from ggl_lightning.defenses.base import Adaptation, ClientSide, Defense, Unchanged
from ggl_lightning.defenses.dp_sgd import estimate_noise_and_bound
from ggl_lightning.defenses.percentile import check_percentage
from ggl_lightning.errors import check_non_negative


class GaussianPrivacy(Defense):
    """Adds ``N(0, s^2)`` to every entry, ``s`` being ``sigma0`` times a large entry's magnitude.

    That magnitude is the ``max_percentile``-th percentile (linear interpolation) of those of the
    nonzero entries of all tensors together. As in NVFlare's study of leakage (Hatamizadeh et al.
    2023, arXiv 2202.06924; ``research/quantifying-data-leakage``). It promises nothing provable:
    the noise follows from the update itself.

    Args:
        sigma0: The noise's standard deviation in units of that magnitude; 0 sends the update as it
            is.
        max_percentile: Which percentile, from 0 to 100.

    Raises:
        UserError: If a number is out of its range.
    """

    def __init__(self, sigma0: float = 0.1, max_percentile: float = 95.0) -> None:
        check_non_negative("sigma0 of the Gaussian privacy defense", sigma0)
        check_percentage("max_percentile of the Gaussian privacy defense", max_percentile)
        self.sigma0 = sigma0
        self.max_percentile = max_percentile

    def __call__(self, update: Update, client: ClientSide) -> Update:
        """Returns the update plus noise, which is drawn on the CPU: the same on every device."""
        std = self.sigma0 * nonzero_percentile(update, self.max_percentile)
        return [
            tensor + std.to(tensor.dtype) * _normal(tensor, client.generator) for tensor in update
        ]

    def adapt(self, received: Update, classifier: ClassifierLayer) -> Adaptation:
        """There is nothing to undo; the attacker reports the noise that it sees.

        Its standard deviation is estimated as for `DPSGD`, from the median of the entries.
        """
        noise_std, _ = estimate_noise_and_bound(received)
        return Unchanged({"noise_std": noise_std})


def nonzero_percentile(update: Update, percentage: float) -> Tensor:
    """A percentile of the magnitudes of an update's nonzero entries, interpolated linearly.

    Args:
        update: The update.
        percentage: From 0 to 100.

    Returns:
        A scalar of the update's dtype and device; 0 if all entries are zeros.
    """
    magnitudes = torch.cat([tensor.detach().abs().flatten() for tensor in update]).sort().values
    zeros = (magnitudes == 0).sum()
    last = len(magnitudes) - 1
    # In float64, which float32 would not place exactly among millions.
    place = zeros + percentage / 100 * (last - zeros).clamp(min=0).double()
    # Selected, not indexed: the place of a value need not leave the device.
    lower, upper = (
        magnitudes.index_select(0, end.long().clamp(max=last).view(1)).squeeze(0)
        for end in (place.floor(), place.ceil())
    )
    return torch.lerp(lower, upper, place.frac().to(magnitudes.dtype))


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=like.dtype).to(like.device)
