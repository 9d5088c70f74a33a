"""The best identification of private images by any attack, with what so many tries are worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scipy.stats import binom, binomtest

from ggl_lightning.audit.results.schema import RANKS, Row
from ggl_lightning.audit.results.values import Image, image_of
from ggl_lightning.metrics import CONFIDENCE


def worst_identification(attacks: Mapping[str, list[Row]]) -> dict[str, Any]:
    """The highest top-1 rate over attacks and what they rank by.

    An image counts as named if it is first in all of its seeds (and of a batch, its first image).
    The rate has the exact interval of Clopper and Pearson (1934); ``p_value`` is the exact binomial
    one against guessing among as many as there are, times the number of rankings that were tried
    (Bonferroni), so that the best of several is not taken for more than it is.

    Args:
        attacks: Finished cases by attack.

    Returns:
        ``attack``, ``by`` (one of `RANKS`), ``rate``, ``low``, ``high``, ``count``, ``chance``,
        ``p_value`` and ``tried``; or ``missing``.
    """
    tried = []
    for attack, cases in attacks.items():
        for by, column in RANKS.items():
            named, decoys = _named(cases, column)
            if named:
                tried.append(_rate(attack, by, named, decoys))
    if not tried:
        return {"missing": "no attack ranked the private images among decoys"}
    best = min(tried, key=lambda each: (each["p_value"], -each["rate"]))
    return {**best, "p_value": min(1.0, len(tried) * best["p_value"]), "tried": len(tried)}


def _named(cases: list[Row], column: str) -> tuple[dict[Image, bool], int]:
    """Which images were named, and among how few decoys at the least."""
    named: dict[Image, bool] = {}
    decoys = []
    for row in cases:
        if row.get(column) is None or not row.get("decoys"):
            continue
        ranks = row[column] if isinstance(row[column], list) else [row[column]]
        image = image_of(row)
        named[image] = named.get(image, True) and ranks[0] == 1
        decoys.append(row["decoys"])
    return named, min(decoys, default=0)


def _rate(attack: str, by: str, named: Mapping[Image, bool], decoys: int) -> dict[str, Any]:
    count, successes = len(named), sum(named.values())
    chance = 1 / (decoys + 1)
    interval = binomtest(successes, count).proportion_ci(CONFIDENCE, method="exact")
    return {
        "attack": attack,
        "by": by,
        "rate": successes / count,
        "low": float(interval.low),
        "high": float(interval.high),
        "count": count,
        "chance": chance,
        "p_value": float(binom.sf(successes - 1, count, chance)),
    }
