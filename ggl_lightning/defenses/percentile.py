"""Which entries of a tensor lie below a percentile: exactly, at any size, on any device."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ggl_lightning.errors import UserError

# Entries drawn to bracket the wanted one, and how far to either side of its expected place in the
# sample the bracket reaches, in standard deviations of that place.
_SAMPLE = 8192
_REACH = 4.0


def check_percentage(name: str, value: float) -> None:
    """Raises `UserError` unless ``0 <= value <= 100``.

    Args:
        name: How the user knows the setting.
        value: The setting's value.

    Raises:
        UserError: If ``value`` is outside that range or NaN.
    """
    if not 0 <= value <= 100:
        raise UserError(f"{name} is {value}: it must be a percentage between 0 and 100.")


def percentile_rank(percentage: float, count: int) -> int:
    """Position, in sorted order, of the first entry that is not below a percentile.

    The percentile lies at the position ``h = percentage / 100 * (count - 1)`` of the sorted
    entries, interpolated linearly between its neighbours (NumPy's default). With distinct
    neighbours the lower one is below it unless ``h`` is whole, and the upper one never is; so the
    entries below the percentile are exactly those below the entry at ``ceil(h)``. This needs no
    interpolation, hence no rounding.

    Args:
        percentage: Between 0 and 100.
        count: Number of entries.

    Returns:
        ``ceil(h)``, from 0 to ``count - 1`` (0 if there are no entries).
    """
    # Multiplied before it is divided: 7 / 100 * 100 would be above 7.
    return math.ceil(percentage * max(count - 1, 0) / 100)


def at_or_above_rank(values: Tensor, rank: int) -> Tensor:
    """Marks the entries that are not below the one at a position in sorted order.

    Args:
        values: Any shape; not NaN.
        rank: The position, from 0; see `percentile_rank`.

    Returns:
        Boolean mask of the same shape. Entries that tie with the one at ``rank`` are marked.
    """
    values = values.detach()
    if rank == 0:
        return torch.ones_like(values, dtype=torch.bool)
    return values >= _entry_at(values.flatten(), rank)


def _entry_at(values: Tensor, rank: int) -> Tensor:
    """The entry at position ``rank`` of the sorted vector ``values``, as a scalar tensor."""
    if not values.is_cpu:  # sorting is fast there, and unlike kthvalue allowed when deterministic
        return values.sort().values[rank]
    if len(values) > 4 * _SAMPLE:
        return _entry_at_by_sample(values, rank)
    return values.kthvalue(rank + 1).values


def _entry_at_by_sample(values: Tensor, rank: int) -> Tensor:
    """The same for many values: only those between two entries of a random sample are sorted.

    About a third of the time of ``kthvalue`` on everything (2.4 million values, one core). The
    result does not depend on the sample.
    """
    generator = torch.Generator().manual_seed(0)
    sample = values[torch.randint(len(values), (_SAMPLE,), generator=generator)].sort().values
    share = rank / (len(values) - 1)
    place = share * (_SAMPLE - 1)
    reach = _REACH * math.sqrt(_SAMPLE * share * (1 - share)) + 1
    low = sample[math.floor(place - reach)] if place >= reach else values.new_tensor(-math.inf)
    above = math.ceil(place + reach)
    high = sample[above] if above < _SAMPLE else values.new_tensor(math.inf)
    within = values[(values >= low) & (values <= high)]
    position = rank - int((values < low).sum())
    if 0 <= position < len(within):
        return within.kthvalue(position + 1).values
    return values.kthvalue(rank + 1).values  # an unlucky sample
