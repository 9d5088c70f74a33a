"""Defenses compared pair by pair on the same images."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import torch
from scipy.stats import false_discovery_control

from ggl_lightning.audit.statistics.compared import Compared, Place, Side, all_compared
from ggl_lightning.audit.statistics.computed import LOCAL, computed
from ggl_lightning.audit.statistics.result_index import ResultIndex


def defense_differences(index: ResultIndex) -> list[dict[str, Any]]:
    """Paired differences between all pairs of defenses, for every attack and all that is compared.

    Cases are paired by image and seed. A number that no case of an attack has is left out.

    Returns:
        One object per attack, metric and pair: ``attack``, ``metric`` (or ``top1_`` and one of
        `RANKS`, a share of images), ``defense_a``, ``defense_b``, and ``mean`` (a minus b),
        ``low``, ``high``, ``p_value``, ``p_adjusted`` and ``count``, or ``missing``. ``p_adjusted``
        keeps the false discovery rate over the whole list under any dependence (Benjamini and
        Yekutieli 2001).
    """
    found = []
    for attack in dict.fromkeys(attack for _, attack in index.groups):
        cases = {defense: of for (defense, by), of in index.groups.items() if by == attack}
        for compared in all_compared():
            sides = [compared.side(defense, of) for defense, of in cases.items()]
            if not any(side.values for side in sides):
                continue
            found += [
                {
                    "attack": attack,
                    "metric": compared.name,
                    "defense_a": a.name,
                    "defense_b": b.name,
                }
                | paired_difference(compared, a, b)
                for a, b in combinations(sides, 2)
            ]
    adjust(found)
    return found


def paired_difference(compared: Compared, a: Side, b: Side) -> dict[str, Any]:
    """The mean over images of a minus b; cases are paired by image and seed.

    Ranks among other numbers of decoys are not paired: they are harder, or easier, to be first of.

    Args:
        compared: What is compared.
        a: Its numbers on one side, of one case at least.
        b: On the other.

    Returns:
        What the statistic computes, or ``missing``.
    """
    for side in (a, b):
        if not side.values:
            return {"missing": side.why_none}
    first, second = a.values, b.values
    shared = sorted(first.keys() & second.keys())
    if not shared:
        return {"missing": _why_not_paired(first, second)}
    ids = {image: i for i, image in enumerate(dict.fromkeys(image for image, *_ in shared))}
    statistic = compared.statistic(**LOCAL)
    statistic.update(
        torch.tensor([ids[image] for image, *_ in shared]),
        a=torch.tensor([first[place] for place in shared], dtype=torch.float64),
        b=torch.tensor([second[place] for place in shared], dtype=torch.float64),
    )
    return computed(statistic)


def _why_not_paired(a: dict[Place, float], b: dict[Place, float]) -> str:
    cases = [{(image, seed) for image, seed, _ in values} for values in (a, b)]
    if not cases[0] & cases[1]:
        return "no image and seed has both"
    numbers = [", ".join(map(str, sorted({among for *_, among in values}))) for values in (a, b)]
    return f"the ranks are among {numbers[0]} decoys and among {numbers[1]}: rates differ by that"


def adjust(differences: list[dict[str, Any]]) -> None:
    """Adds ``p_adjusted`` to what `paired_difference` gave, over the whole list."""
    for difference in differences:
        if "mean" in difference:
            difference["p_adjusted"] = None
    tested = [one for one in differences if one.get("p_value") is not None]
    if tested:
        adjusted = false_discovery_control([one["p_value"] for one in tested], method="by")
        for one, p_value in zip(tested, adjusted, strict=True):
            one["p_adjusted"] = float(p_value)
