"""Statistics as plain numbers, ready for strict JSON, or the reason why there are none."""

from __future__ import annotations

from typing import Any

from ggl_lightning.metrics import MissingError, Statistic

LOCAL: dict[str, Any] = {"sync_on_compute": False}
"""Arguments of statistics that one process computes of all results: others do not wait for it."""


def computed(statistic: Statistic) -> dict[str, Any]:
    """What a statistic computes, as plain numbers.

    Returns:
        Its numbers by name, or ``{"missing": reason}``. An interval alone that is missing is
        ``low`` and ``high`` of None, with ``interval_missing``, the reason; another number that is
        missing is None.
    """
    try:
        found: dict[str, Any] = {name: t.item() for name, t in statistic.compute().items()}
    except MissingError as missing:
        return {"missing": missing.reason}
    for part, reason in statistic.missing.items():
        if part == "interval":
            found |= {"low": None, "high": None, "interval_missing": reason}
        else:
            found[part] = None
    return found
