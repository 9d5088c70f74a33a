"""Normalised leakage of one defense under one attack: what exceeds the strongest null."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch

from ggl_lightning.audit.results.measures import (
    HIGHER_IS_BETTER,
    Image,
    Row,
    image_of,
    is_done,
    mean,
    metric_value,
)
from ggl_lightning.audit.statistics.plain import LOCAL, plain, why_missing
from ggl_lightning.audit.statistics.result_index import BOUND, NULLS, ResultIndex
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
    if not index.has(BOUND):
        return {"missing": "the bound was not run"}
    if not any(index.has(role) for role in NULLS):
        return {"missing": "no null was run"}
    triples = {role: found for role in NULLS if (found := _triples(index, done, metric, role))}
    if not triples:
        return {"missing": "no image has an attack, a null and a bound that all finished"}
    higher = bool(HIGHER_IS_BETTER[metric])
    strongest = _strongest(triples, higher)
    statistic = NormalizedLeakage(higher, **LOCAL)
    values = torch.tensor(list(triples[strongest].values()), dtype=torch.float64)
    statistic.update(*values.unbind(dim=1))
    return {**plain(statistic), "null": strongest}


def _triples(index: ResultIndex, done: list[Row], metric: str, role: str) -> dict[Image, _Triple]:
    """Means over the seeds for which there are all three."""
    found: dict[Image, list[_Triple]] = {}
    for row in done:
        null, bound = index.control(role, row), index.control(BOUND, row)
        if null is None or bound is None:
            continue
        values = tuple(metric_value(case, metric) for case in (row, null, bound))
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
