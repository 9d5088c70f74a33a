"""Which type of a union reads a value."""

from __future__ import annotations

from typing import Any

from jsonargparse import _typehints

_internals: Any = _typehints
_own_rank = _internals.union_subtype_sort_key


def read_whole_numbers_as_such() -> None:
    """Has jsonargparse try ``float`` after the other types of a union.

    It tries types in their order, and Python keeps one order for all unions of the same types:
    that of the first one any package has made. After a ``float | int`` somewhere, the Trainer's
    ``limit_train_batches: int | float`` would read 1 as 1.0, which is not one batch but all.
    """
    _internals.union_subtype_sort_key = _rank


def _rank(subtype: Any) -> float:
    """The rank that jsonargparse gives, 0, or 1 and more for what comes last; 0.5 for ``float``."""
    return 0.5 if subtype is float else _own_rank(subtype)
