"""Compression: the small entries of every tensor are left out."""

from __future__ import annotations

import copy

from torch import Tensor

from ggl_lightning.clients import ClassifierLayer, Update
from ggl_lightning.defenses.base import ClientSide, Defense, TensorwiseAdaptation
from ggl_lightning.defenses.percentile import at_or_above_rank, check_percentage, percentile_rank

_FINE = 98
"""Percentages above which a tenth of a percent counts."""


def _keep_from_rank(tensor: Tensor, rank: int) -> Tensor:
    """Sets the entries to zero whose magnitude is below the one at ``rank`` in sorted order."""
    if rank == 0:
        return tensor
    return tensor * at_or_above_rank(tensor.detach().abs(), rank)


class Compression(Defense):
    """Per tensor, sets entries below the ``percentage``-th percentile of magnitude to zero.

    Strictly below, with linear interpolation between neighbours, as the published code of Li et
    al. 2022 prunes. Hence the largest entry always stays, even at 100, and so does a tensor of one
    entry or of equal ones; 0 sends the update as it is.

    Args:
        percentage: The share of small entries to leave out, from 0 to 100.

    Raises:
        UserError: If ``percentage`` is outside that range.
    """

    def __init__(self, percentage: float = 20.0) -> None:
        check_percentage("percentage of the compression defense", percentage)
        self.percentage = percentage

    @property
    def adds_noise(self) -> bool:
        """No."""
        return False

    def norm_bound(self, before: float | None) -> float | None:
        """That of what it is given: entries are left out."""
        return before

    def __call__(self, update: Update, client: ClientSide) -> Update:
        """Returns the update without its small entries."""
        return [
            _keep_from_rank(tensor, percentile_rank(self.percentage, tensor.numel()))
            for tensor in update
        ]

    def adapt(self, received: Update, classifier: ClassifierLayer) -> PruneLike:
        """The attacker takes the share of zeros for the percentage, tensor by tensor."""
        return PruneLike(received)


class PruneLike(TensorwiseAdaptation):
    """Prunes each tensor of a candidate's update at the share of zeros that the received one had.

    A tensor of ``n`` entries, ``k`` of them zeros, is pruned at its percentile ``100 k / n``. That
    is its ``k`` smallest entries: the same that were set to zero, if the candidate is right.

    Args:
        received: The received update. The reported estimate is its share of zeros over all
            tensors, in percent.
    """

    def __init__(self, received: Update) -> None:
        zeros = [tensor.numel() - int(tensor.count_nonzero()) for tensor in received]
        entries = [tensor.numel() for tensor in received]
        self._entries = entries
        # percentile_rank(100 k / n, n), which is k unless all entries are zeros: the largest stays.
        self._ranks = [min(k, max(n - 1, 0)) for k, n in zip(zeros, entries, strict=True)]
        self.estimate = {"percentage": 100 * sum(zeros) / sum(entries)}

    def shared(self) -> PruneLike:
        """The same at one whole percentage for all tensors; at a tenth of one above 98.

        It is the least that as many entries as not were pruned at: zeros that an update has anyway,
        of units that do not fire, are more than were pruned.
        """
        shares = sorted(
            (100 * k / n, n) for k, n in zip(self._ranks, self._entries, strict=True) if n
        )
        half, below, percentage = sum(self._entries) / 2, 0, 0.0
        for share, entries in shares:
            if below < half:
                percentage = round(share, int(share > _FINE))
            below += entries
        found = copy.copy(self)
        found._ranks = [percentile_rank(percentage, n) if n else 0 for n in self._entries]
        found.estimate = {"percentage": percentage}
        return found

    def adapt_tensor(self, tensor: Tensor, index: int) -> Tensor:
        """Returns the tensor without its smallest entries, whose gradient is zero."""
        return _keep_from_rank(tensor, self._ranks[index])
