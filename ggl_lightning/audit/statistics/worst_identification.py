"""The best identification of private images by any attack, with what so many tries are worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scipy.stats import binom

from ggl_lightning.audit.results.schema import RANKS, Row
from ggl_lightning.audit.results.values import Image, image_of
from ggl_lightning.audit.statistics.enough import too_few
from ggl_lightning.metrics import CONFIDENCE, exact_interval


def worst_identification(attacks: Mapping[str, list[Row]]) -> dict[str, Any]:
    """The highest top-1 rate over attacks and what they rank by.

    An image counts as named if it is first in all of its seeds (and of a batch, its first image).
    The best of several rankings is better than each, also by luck. So both numbers allow for how
    many were tried, ``K``, whatever they have in common (Bonferroni): ``p_value`` is ``K`` times
    the exact binomial one against guessing among as many as there are, and ``low`` and ``high``
    are the exact interval (Clopper and Pearson 1934) at the level ``1 - 0.05 / K``. Of ``K`` such
    intervals all hold in 95% of audits, and thus that of whichever ranking comes out best. Rankings
    of too few images to be judged (`too_few`) are set aside where others have enough.

    Args:
        attacks: Finished cases by attack.

    Returns:
        ``attack``, ``by`` (one of `RANKS`), ``rate``, ``low``, ``high``, ``count``, ``chance``,
        ``p_value`` and ``tried``, which is ``K``; or ``missing``.
    """
    tried = []
    for attack, cases in attacks.items():
        for by, column in RANKS.items():
            named, decoys = _named(cases, column)
            if named:
                tried.append(_rate(attack, by, named, decoys))
    if not tried:
        return {"missing": "no attack ranked the private images among decoys"}
    # How many images a ranking has says nothing of what it names: choosing by that is free.
    tried = [each for each in tried if too_few(each["count"]) is None] or tried
    best = min(tried, key=lambda each: (each["p_value"], -each["rate"]))
    named = best.pop("named")
    low, high = exact_interval(named, best["count"], 1 - (1 - CONFIDENCE) / len(tried))
    return {
        **best,
        "low": low,
        "high": high,
        "p_value": min(1.0, len(tried) * best["p_value"]),
        "tried": len(tried),
    }


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
    return {
        "attack": attack,
        "by": by,
        "named": successes,
        "rate": successes / count,
        "count": count,
        "chance": chance,
        "p_value": float(binom.sf(successes - 1, count, chance)),
    }
