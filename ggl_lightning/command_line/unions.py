"""Which type of a union reads a value."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from jsonargparse import _typehints

_internals: Any = _typehints
_own_rank = _internals.union_subtype_sort_key
_own_order = _internals.sort_subtypes_for_union


def read_numbers_as_such() -> None:
    """Has jsonargparse try ``float`` after all types of a union but those that take any number.

    It tries types in their order, and Python keeps one order for all unions of the same types:
    that of the first one any package has made. After a ``float | int`` somewhere, the Trainer's
    ``limit_train_batches: int | float`` would read 1 as 1.0, which is not one batch but all. Text
    and times are written from anything: before ``float``, they would make a run's settings say
    ``'0.5'`` where ``val_check_interval`` is 0.5.
    """
    _internals.union_subtype_sort_key = _rank
    _internals.sort_subtypes_for_union = _in_order


def _rank(subtype: Any) -> float:
    """The rank that jsonargparse gives, 0, or 1 and more for what comes last; 0.5 for ``float``."""
    return 0.5 if subtype is float else _own_rank(subtype)


def _in_order(subtypes: Any, *context: Any) -> list[Any]:
    """The types in the order in which they are tried."""
    ordered = list(_own_order(subtypes, *context))
    if float not in ordered:
        return ordered
    late = [subtype for subtype in ordered if subtype in (str, timedelta)]
    early = [subtype for subtype in ordered if subtype not in late]
    behind = early.index(float) + 1
    return early[:behind] + late + early[behind:]
