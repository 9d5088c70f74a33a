"""Normalised leakage of one defense under one attack: what exceeds the strongest null."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch

from ggl_lightning.audit.plan.controls import bound, nulls
from ggl_lightning.audit.plan.roles import Role
from ggl_lightning.audit.results.schema import METRICS, Row, is_done
from ggl_lightning.audit.results.values import Image, image_of, mean, metric_value
from ggl_lightning.audit.statistics.computed import LOCAL, computed
from ggl_lightning.audit.statistics.result_index import ResultIndex, why_missing
from ggl_lightning.metrics import NormalizedLeakage

_Triple: TypeAlias = tuple[float, float, float]  # attack, null, bound


def normalized_leakage(index: ResultIndex, cases: list[Row], metric: str) -> dict[str, Any]:
    """``(attack - null) / (bound - null)``, with the null that is best for the attacker.

    Args:
        index: All results.
        cases: The cases of one defense and one attack.
        metric: A metric with a better direction.

    Returns:
        ``value``, ``low``, ``high``, ``count`` and ``null``, the role of the strongest null, or
        ``{"missing": reason}``.
    """
    done = [row for row in cases if is_done(row) and metric_value(row, metric) is not None]
    if not done:
        return {"missing": why_missing(cases, metric)}
    if not index.has(bound()):
        return {"missing": "the bound was not run"}
    if not any(index.has(role) for role in nulls()):
        return {"missing": "no null was run"}
    triples = {
        role.name: found for role in nulls() if (found := _triples(index, done, metric, role))
    }
    if not triples:
        return {"missing": "no image has an attack, a null and a bound that all finished"}
    higher = bool(METRICS[metric].higher_is_better)
    strongest = _strongest(triples, higher)
    statistic = NormalizedLeakage(higher, **LOCAL)
    values = torch.tensor(list(triples[strongest].values()), dtype=torch.float64)
    statistic.update(*values.unbind(dim=1))
    return {**computed(statistic), "null": strongest}


def _triples(index: ResultIndex, done: list[Row], metric: str, role: Role) -> dict[Image, _Triple]:
    """Means over the seeds for which there are all three."""
    found: dict[Image, list[_Triple]] = {}
    best_role = bound()
    for row in done:
        null, best = index.control(role, row), index.control(best_role, row)
        if null is None or best is None:
            continue
        values = tuple(metric_value(case, metric) for case in (row, null, best))
        if None not in values:
            found.setdefault(image_of(row), []).append(values)  # type: ignore[arg-type]
    return {
        image: tuple(mean(column) for column in zip(*seeds, strict=True))  # type: ignore[misc]
        for image, seeds in found.items()
    }


def _strongest(triples: dict[str, dict[Image, _Triple]], higher_is_better: bool) -> str:
    """The null whose mean is best for the attacker, on the images that all nulls have."""
    shared = set.intersection(*(set(found) for found in triples.values()))
    means = {
        # Without a common image each is judged on its own ones: there is nothing better to go by.
        role: mean(found[image][1] for image in (shared or found))
        for role, found in triples.items()
    }
    return (max if higher_is_better else min)(means, key=lambda role: means[role])
