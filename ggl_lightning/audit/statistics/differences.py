"""Defenses compared pair by pair on the same images."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import torch
from scipy.stats import false_discovery_control

from ggl_lightning.audit.results.schema import Row, compared_metrics, is_done
from ggl_lightning.audit.results.values import Image, image_of, metric_value
from ggl_lightning.audit.statistics.computed import LOCAL, computed
from ggl_lightning.audit.statistics.result_index import ResultIndex
from ggl_lightning.metrics import PairedDifference


def defense_differences(index: ResultIndex) -> list[dict[str, Any]]:
    """Paired differences between all pairs of defenses, for every attack and compared metric.

    Cases are paired by image and seed. A metric that no case of an attack has is left out.

    Returns:
        One object per attack, metric and pair: ``attack``, ``metric``, ``defense_a``,
        ``defense_b``, and ``mean`` (a minus b), ``low``, ``high``, ``p_value``, ``p_adjusted`` and
        ``count``, or ``missing``. ``p_adjusted`` keeps the false discovery rate over the whole list
        under any dependence (Benjamini and Yekutieli 2001).
    """
    found = []
    for attack in dict.fromkeys(attack for _, attack in index.groups):
        defenses = [defense for defense, of in index.groups if of == attack]
        for metric in (compared.name for compared in compared_metrics()):
            values = {name: values_by_case(index.groups[name, attack], metric) for name in defenses}
            if not any(values.values()):
                continue
            found += [
                {"attack": attack, "metric": metric, "defense_a": a, "defense_b": b}
                | paired_difference(values[a], values[b])
                for a, b in combinations(defenses, 2)
            ]
    adjust(found)
    return found


def values_by_case(cases: list[Row], metric: str) -> dict[tuple[Image, int], float]:
    """A metric by image and seed, of the finished cases that have it."""
    return {
        (image_of(row), row["seed"]): value
        for row in cases
        if is_done(row) and (value := metric_value(row, metric)) is not None
    }


def paired_difference(
    a: dict[tuple[Image, int], float], b: dict[tuple[Image, int], float]
) -> dict[str, Any]:
    """The mean over images of a minus b; cases are paired by image and seed.

    Returns:
        What `PairedDifference` computes, or ``missing``.
    """
    shared = sorted(a.keys() & b.keys())
    if not shared:
        return {"missing": "no image and seed has both"}
    ids = {image: i for i, image in enumerate(dict.fromkeys(image for image, _ in shared))}
    statistic = PairedDifference(**LOCAL)
    statistic.update(
        torch.tensor([ids[image] for image, _ in shared]),
        a=torch.tensor([a[case] for case in shared], dtype=torch.float64),
        b=torch.tensor([b[case] for case in shared], dtype=torch.float64),
    )
    return computed(statistic)


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
