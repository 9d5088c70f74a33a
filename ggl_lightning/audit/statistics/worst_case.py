"""What the strongest attack makes of a defense: the auditor's maximum, and the attacker's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ggl_lightning.audit.plan.controls import bound, nulls
from ggl_lightning.audit.results.schema import METRICS, Row, headline_metrics, is_done
from ggl_lightning.audit.results.values import Image, image_means, metric_value
from ggl_lightning.audit.statistics.computed import LOCAL, computed
from ggl_lightning.audit.statistics.enough import too_few
from ggl_lightning.audit.statistics.result_index import ResultIndex
from ggl_lightning.audit.statistics.worst_identification import worst_identification
from ggl_lightning.metrics import MaxLeakage

LEVEL = 0.05
"""How often a verdict of one defense may find a leak where there is none."""

_EXPECTED = "predicted_mse"


def worst_cases(index: ResultIndex) -> list[dict[str, Any]]:
    """The strongest attack against every defense.

    Args:
        index: All results.

    Returns:
        One object per defense, in the order in which they first appear: ``defense``, ``metric``
        (the headline: the first by which something can be said), ``metrics`` (by name:
        ``auditor`` and ``attacker``, each as `MaxLeakage` has it with ``attack``, ``attacks``,
        ``left_out``, or ``missing``), ``identification`` (`worst_identification`), ``verdict``
        (``leak``, ``no_leak`` or ``not_judged``), ``p_value`` (of the verdict, adjusted for its two
        kinds of evidence), ``reason`` and ``shown`` (by which kinds of evidence a leak is shown).
    """
    defenses: dict[str, dict[str, list[Row]]] = {}
    for (defense, attack), cases in index.groups.items():
        defenses.setdefault(defense, {})[attack] = [row for row in cases if is_done(row)]
    names = [metric.name for metric in headline_metrics()]
    found = {
        defense: {name: _of_metric(index, attacks, name) for name in names}
        for defense, attacks in defenses.items()
    }
    headline = next(
        (n for n in names if any("value" in of[n]["auditor"] for of in found.values())), names[0]
    )
    return [
        _judged(
            {
                "defense": defense,
                "metric": headline,
                "metrics": found[defense],
                "identification": worst_identification(attacks),
            }
        )
        for defense, attacks in defenses.items()
    ]


def _judged(entry: dict[str, Any]) -> dict[str, Any]:
    """With a verdict: Holm's adjustment (1979) over reconstruction and identification."""
    evidence = {
        "reconstruction": entry["metrics"][entry["metric"]]["auditor"],
        "identification": entry["identification"],
    }
    enough = {
        name: each
        for name, each in evidence.items()
        if each.get("p_value") is not None and too_few(each["count"]) is None
    }
    if not enough:
        counts = [each["count"] for each in evidence.values() if each.get("p_value") is not None]
        reason = next((each["missing"] for each in evidence.values() if "missing" in each), "")
        if counts:
            reason = str(too_few(max(counts)))
        return {**entry, "verdict": "not_judged", "p_value": None, "reason": reason, "shown": []}
    ordered = sorted(enough, key=lambda name: enough[name]["p_value"])
    shown = []
    for place, name in enumerate(ordered):
        if (len(ordered) - place) * enough[name]["p_value"] >= LEVEL:
            break
        shown.append(name)
    return {
        **entry,
        "verdict": "leak" if shown else "no_leak",
        "p_value": min(1.0, len(ordered) * enough[ordered[0]]["p_value"]),
        "reason": shown[0] if shown else "neither is to be told from chance",
        "shown": shown,
    }


def _of_metric(index: ResultIndex, attacks: Mapping[str, list[Row]], metric: str) -> dict[str, Any]:
    known = {
        attack: found
        for attack, cases in attacks.items()
        if (found := image_means(cases, lambda row: metric_value(row, metric)))
    }
    if not known:
        missing = {"missing": "no attack has a reconstruction with this metric"}
        return {"auditor": missing, "attacker": missing}
    most = max(map(len, known.values()))
    whole = {attack: found for attack, found in known.items() if len(found) == most}
    left_out = {
        attack: f"it has {len(found)} of {most} images"
        for attack, found in known.items()
        if attack not in whole
    }
    # Of an attack of attacks and the member whose answer it took, the member is named.
    names = sorted(whole, key=lambda name: "/" not in name)
    auditor = _maximum(index, attacks, names, metric, left_out)
    return {"auditor": auditor, "attacker": _own_choice(index, attacks, list(whole), metric)}


def _maximum(
    index: ResultIndex,
    attacks: Mapping[str, list[Row]],
    names: Sequence[str],
    metric: str,
    left_out: Mapping[str, str],
) -> dict[str, Any]:
    """The maximum over some attacks, against that over their nulls."""
    kinds = [role for role in nulls() if index.has(role)]
    if not kinds:
        return {"missing": "no null was run"}
    values = {name: _by_image(attacks[name], metric) for name in names}
    of_nulls = {
        role.name: {
            name: _by_image(_controls(index, attacks[name], role), metric) for name in names
        }
        for role in kinds
    }
    # A kind that some attack lacks on all images cannot be had together with the others.
    of_nulls = {role: found for role, found in of_nulls.items() if all(found.values())}
    if not of_nulls:
        return {"missing": "no null was finished"}
    columns = [*values.values(), *(one for found in of_nulls.values() for one in found.values())]
    images = sorted(set.intersection(*(set(column) for column in columns)))
    if not images:
        return {"missing": "no image has all attacks and their nulls"}
    bounds = _bounds(index, attacks, metric)
    has_bound = all(image in bounds for image in images)
    statistic = MaxLeakage(
        bool(METRICS[metric].higher_is_better), len(names), len(of_nulls), has_bound, **LOCAL
    )
    statistic.update(
        _table(values, names, images),
        torch.stack([_table(found, names, images) for found in of_nulls.values()], dim=1),
        torch.tensor([bounds[image] for image in images], dtype=torch.float64)
        if has_bound
        else None,
    )
    found = computed(statistic)
    best, kind = int(found.pop("best")), int(found.pop("null_kind"))
    return {
        "attack": names[best],
        **found,
        "null_role": list(of_nulls)[kind],
        "attacks": list(names),
        "left_out": dict(left_out),
    }


def _own_choice(
    index: ResultIndex, attacks: Mapping[str, list[Row]], names: Sequence[str], metric: str
) -> dict[str, Any]:
    """What an attacker gets who chooses one answer without the truth.

    That of an attack of attacks, where there is one. Else, update by update, that of the attack
    which expects the least error of itself.
    """
    chooses = [name for name in names if any(_is_of(name, other) for other in names)]
    if chooses:
        return _maximum(index, attacks, chooses[:1], metric, {})
    if len(names) == 1:
        return _maximum(index, attacks, names, metric, {})
    silent = [name for name in names if any(row.get(_EXPECTED) is None for row in attacks[name])]
    if silent:
        return {
            "missing": f"{silent[0]} does not say how good it expects to be, so an attacker could "
            "not choose; the standard attack does"
        }
    chosen: dict[Any, Row] = {}
    for row in (row for name in names for row in attacks[name]):
        place = (row["image_index"], row.get("record"), row["seed"])
        if place not in chosen or row[_EXPECTED] < chosen[place][_EXPECTED]:
            chosen[place] = row
    own = "the attacker's choice"
    return _maximum(index, {own: list(chosen.values())}, [own], metric, {})


def _is_of(attack: str, other: str) -> bool:
    return other.startswith(f"{attack}/")


def _controls(index: ResultIndex, cases: list[Row], role: Any) -> list[Row]:
    return [found for row in cases if (found := index.control(role, row)) is not None]


def _by_image(cases: list[Row], metric: str) -> dict[Image, float]:
    return image_means(cases, lambda row: metric_value(row, metric))


def _bounds(
    index: ResultIndex, attacks: Mapping[str, list[Row]], metric: str
) -> dict[Image, float]:
    """One bound for all attacks of an image: the best direct inversion in any of their spaces."""
    better = max if METRICS[metric].higher_is_better else min
    found: dict[Image, float] = {}
    for cases in attacks.values():
        for image, value in _by_image(_controls(index, cases, bound()), metric).items():
            found[image] = better(found.get(image, value), value)
    return found


def _table(
    values: Mapping[str, Mapping[Image, float]], names: Sequence[str], images: Sequence[Image]
) -> Tensor:
    return torch.tensor(
        [[values[name][image] for name in names] for image in images], dtype=torch.float64
    )
