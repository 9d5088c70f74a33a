"""NVFlare's percentile privacy: only large entries are shared, and these are truncated."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from ggl_lightning.clients import ClassifierLayer, Update
from ggl_lightning.defenses.base import Adaptation, ClientSide, Defense
from ggl_lightning.defenses.percentile import at_or_above_rank, check_percentage, percentile_rank
from ggl_lightning.errors import check_positive


class PercentilePrivacy(Defense):
    """NVFlare's ``PercentilePrivacy``, after Shokri and Shmatikov (CCS 2015).

    Of the update divided by ``steps``, entries whose magnitude is below the ``percentile``-th
    percentile of all entries together become zero (linear interpolation), and the rest are
    truncated to ``[-gamma, gamma]``; then it is multiplied by ``steps`` again. Tensors without
    dimensions are sent as they are.

    ``gamma`` is in the units of the update that is defended. NVFlare's is in those of a difference
    of weights: for an update that is a gradient, divide it by the client's learning rate.

    Args:
        percentile: The share of small entries to leave out, from 0 to 100.
        gamma: The largest magnitude per step that is sent.
        steps: Local steps behind the update, as NVFlare's clients report them.

    Raises:
        UserError: If a number is out of its range. NVFlare's filter would then send the update
            undefended.
    """

    def __init__(self, percentile: float = 10.0, gamma: float = 0.01, steps: int = 1) -> None:
        check_percentage("percentile of the percentile privacy defense", percentile)
        check_positive("gamma of the percentile privacy defense", gamma)
        check_positive("steps of the percentile privacy defense", steps)
        self.percentile = percentile
        self.gamma = gamma
        self.steps = steps

    @property
    def adds_noise(self) -> bool:
        """No."""
        return False

    def __call__(self, update: Update, client: ClientSide) -> Update:
        """Returns the truncated large entries, and zeros."""
        entries = sum(tensor.numel() for tensor in update)
        kept = _at_or_above_rank(update, percentile_rank(self.percentile, entries))
        return _truncated(update, kept, self.gamma * self.steps)

    def adapt(self, received: Update, classifier: ClassifierLayer) -> KeepLargest:
        """The attacker reads percentile and bound off what it received; it knows the steps."""
        return KeepLargest(received, self.steps)


class KeepLargest(Adaptation):
    """Leaves out as many small entries of a candidate as were, and truncates it at the same bound.

    Args:
        received: The received update. Its largest magnitude is the estimate of the bound, its share
            of zeros that of the percentile.
        steps: Local steps, by which the reported bound is divided.
    """

    def __init__(self, received: Update, steps: int) -> None:
        shared = [tensor for tensor in received if tensor.dim()]
        entries = sum(tensor.numel() for tensor in shared)
        zeros = entries - sum(int(tensor.count_nonzero()) for tensor in shared)
        self._rank = min(zeros, max(entries - 1, 0))
        self._entries = entries
        self._steps = steps
        self._bound = max((tensor.abs().max().item() for tensor in shared), default=0.0)
        self.estimate = {
            "percentile": 100 * zeros / entries if entries else 0.0,
            "gamma": self._bound / steps,
        }

    def shared(self) -> KeepLargest:
        """The same at a whole percentile, with three digits of the bound."""
        percentile = round(100 * self._rank / max(self._entries, 1))
        found = copy.copy(self)
        found._rank = min(round(percentile * self._entries / 100), max(self._entries - 1, 0))
        found._bound = float(f"{self._bound:.3g}")
        found.estimate = {"percentile": float(percentile), "gamma": found._bound / self._steps}
        return found

    def __call__(self, update: Update) -> Update:
        """Returns the truncated large entries, and zeros; what was truncated has no gradient."""
        shared = [tensor for tensor in update if tensor.dim()]
        kept = iter(_at_or_above_rank(shared, self._rank))
        masks = [next(kept) if tensor.dim() else torch.ones_like(tensor) for tensor in update]
        return _truncated(update, masks, self._bound)


def _at_or_above_rank(update: Update, rank: int) -> list[Tensor]:
    """Marks the entries whose magnitude is not below that at a rank among all of them together."""
    if not update:
        return []
    magnitudes = torch.cat([tensor.detach().abs().flatten() for tensor in update])
    kept = at_or_above_rank(magnitudes, rank).split([tensor.numel() for tensor in update])
    return [mask.view_as(tensor) for mask, tensor in zip(kept, update, strict=True)]


def _truncated(update: Update, kept: list[Tensor], bound: float) -> Update:
    return [
        (tensor * mask).clamp(-bound, bound) if tensor.dim() else tensor
        for tensor, mask in zip(update, kept, strict=True)
    ]
