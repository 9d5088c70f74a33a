"""What an audit's results say: means, leakage, identification and utility, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from ggl_lightning.audit.plan.controls import bound, nulls
from ggl_lightning.audit.results.schema import METRICS, RANKS, TOP, Row, is_done, leakage_metrics
from ggl_lightning.audit.results.values import (
    Image,
    image_means,
    image_of,
    is_capped,
    mean,
    metric_value,
)
from ggl_lightning.audit.statistics.computed import LOCAL, computed
from ggl_lightning.audit.statistics.differences import defense_differences
from ggl_lightning.audit.statistics.leakage import normalized_leakage
from ggl_lightning.audit.statistics.result_index import Pair, ResultIndex, why_missing
from ggl_lightning.audit.statistics.worst_case import worst_cases
from ggl_lightning.metrics import (
    CONFIDENCE,
    BinomialRate,
    BootstrapMean,
    IdentificationRate,
    identification_bound,
)

UNIT = (
    "the private image, or a client's batch of them: cases of one image under several seeds are "
    "averaged first, and images are resampled"
)
"""What counts as one observation."""

NO_MECHANISM = (
    "the defense is not known to add Gaussian noise to all that is sent, after bounding its norm"
)
"""Why there is no bound on how often any attacker can identify an image."""


def compute_statistics(rows: Sequence[Row], utility_rows: Sequence[Row] = ()) -> dict[str, Any]:
    """Statistics of one or several runs, from their results alone.

    docs/statistics.md says what each number means. All values are plain and finite, ready for
    strict JSON; what cannot be computed is ``{"missing": reason}``, and an interval that cannot is
    ``low`` and ``high`` of None with ``interval_missing``, the reason. The order of the results
    decides the order of groups and of the two defenses of a pair, and changes nothing else.

    Args:
        rows: Results of cases, failed ones included; of attacks, nulls and bounds.
        utility_rows: Results of trainings under the defenses.

    Returns:
        ``version``, ``confidence``, ``unit``, ``groups`` (one per defense and attack, in the order
        they first appear), ``worst_case`` (one per defense, `worst_cases`), ``differences`` and
        ``missing_metrics``.

    Raises:
        UserError: If one name stands for different settings.
    """
    index = ResultIndex(rows, utility_rows)
    return {
        "version": 1,
        "confidence": CONFIDENCE,
        "unit": UNIT,
        "groups": [_group(index, pair) for pair in index.groups],
        "worst_case": worst_cases(index),
        "differences": defense_differences(index),
        "missing_metrics": _missing_everywhere(index),
    }


def _group(index: ResultIndex, pair: Pair) -> dict[str, Any]:
    defense, attack = pair
    cases = index.groups[pair]
    done = [row for row in cases if is_done(row)]
    controls = {
        role.name: [found for row in done if (found := index.control(role, row)) is not None]
        for role in (*nulls(), bound())
    }
    return {
        "defense": defense,
        "attack": attack,
        "cases": len(cases),
        "failed": len(cases) - len(done),
        "images": sum(count for *_, count in {image_of(row) for row in done}),
        "metrics": {metric: _mean_metric(cases, metric) for metric in METRICS},
        "nulls": {
            role.name: _metric_means(controls[role.name]) for role in nulls() if controls[role.name]
        },
        "bound": _metric_means(controls[bound().name]),
        "leakage": {
            metric.name: normalized_leakage(index, cases, metric.name)
            for metric in leakage_metrics()
        },
        "identification": {name: _identification(cases, rank) for name, rank in RANKS.items()},
        "noise_multiplier": _noise_multiplier(cases),
        "label_accuracy": _over_images(BinomialRate(**LOCAL), cases, "label_accuracy"),
        "attribute_agreement": _over_images(
            BootstrapMean(**LOCAL),
            cases,
            "attribute_agreement",
            "no attribute classifiers were given",
        ),
        "utility": _utility(index.utility(defense)),
        "evaluations": _case_mean(done, "evaluations"),
        "seconds": _case_mean(done, "seconds"),
        "defense_parameters": _first(cases, "defense_parameters"),
        "defense_guarantee": _first(cases, "defense_guarantee"),
    }


def _mean_metric(cases: list[Row], metric: str) -> dict[str, Any]:
    found = _over_images(BootstrapMean(**LOCAL), cases, metric)
    capped = sum(is_capped(row, metric) for row in cases if is_done(row))
    return {**found, "capped": capped} if capped else found


def _over_images(
    statistic: BootstrapMean | BinomialRate,
    cases: list[Row],
    name: str,
    otherwise: str = "the results hold no value",
) -> dict[str, Any]:
    """A statistic of one number per image; ``left_out`` finished images lack it."""
    done = [row for row in cases if is_done(row)]
    values = image_means(done, partial(metric_value, name=name))
    if not values:
        return {"missing": why_missing(cases, name, otherwise)}
    statistic.update(torch.tensor(list(values.values()), dtype=torch.float64))
    left_out = len({image_of(row) for row in done}) - len(values)
    return {**computed(statistic), "left_out": left_out} if left_out else computed(statistic)


def _metric_means(rows: list[Row]) -> dict[str, float]:
    found = {name: image_means(rows, partial(metric_value, name=name)) for name in METRICS}
    return {name: mean(values.values()) for name, values in found.items() if values}


def _identification(cases: list[Row], name: str) -> dict[str, Any]:
    trials: dict[Image, tuple[list[int], list[int]]] = {}  # ranks, each with its decoys
    for row in cases:
        if is_done(row) and row.get(name) is not None and row.get("decoys"):
            # A client's batch has one rank per image.
            ranks = row[name] if isinstance(row[name], list) else [row[name]]
            of_image = trials.setdefault(image_of(row), ([], []))
            of_image[0].extend(ranks)
            of_image[1].extend([row["decoys"]] * len(ranks))
    if not trials:
        return {"missing": why_missing(cases, name, "there were no decoys")}
    alike: dict[int, list[tuple[list[int], list[int]]]] = {}  # images by how many ranks they have
    for _, of_image in sorted(trials.items()):
        alike.setdefault(len(of_image[0]), []).append(of_image)
    noise = _noise_multiplier(cases)
    found: dict[str, Any] = {}
    for k in TOP:
        rate = IdentificationRate(k, **LOCAL)
        for _, images in sorted(alike.items()):
            rate.update(*torch.tensor(images).unbind(dim=1))
        found[f"top{k}"] = computed(rate)
        if "value" in noise:
            found[f"top{k}"]["mechanism_bound"] = mean(
                mean(identification_bound(noise["value"], each, k) for each in decoys)
                for _, decoys in trials.values()
            )
    return {**found, "decoys": min(min(decoys) for _, decoys in trials.values())}


def _noise_multiplier(cases: list[Row]) -> dict[str, Any]:
    """What no attack can undo; all cases have one defense, but some may send buffers too."""
    done = [row for row in cases if is_done(row)]
    found = {row.get("noise_multiplier") for row in done}
    if len(found) == 1 and None not in found:
        return {"value": found.pop()}
    return {"missing": NO_MECHANISM if done else why_missing(cases, "noise_multiplier")}


def _utility(trainings: list[Row]) -> dict[str, Any]:
    done = [row for row in trainings if is_done(row) and row.get("accuracy") is not None]
    if not trainings:
        return {"missing": "no client model was trained under this defense"}
    if not done:
        return {"missing": f"the training failed: {trainings[0].get('error')}"}
    accuracy = mean(row["accuracy"] for row in done)
    tested = min(row["test_images"] for row in done)
    rate = BinomialRate(**LOCAL)
    # Every training was tested on the same images: more trainings are not more of them.
    rate.update(torch.tensor([accuracy * tested], dtype=torch.float64), torch.tensor([tested]))
    found = computed(rate)
    return {
        "accuracy": accuracy,
        "low": found["low"],
        "high": found["high"],
        "count": tested,
        "majority_share": _first(done, "majority_share"),
    }


def _case_mean(done: list[Row], name: str) -> float | None:
    values = [row[name] for row in done if row.get(name) is not None]
    return mean(values) if values else None


def _first(rows: list[Row], name: str) -> Any:
    return next((row[name] for row in rows if row.get(name) is not None), None)


def _missing_everywhere(index: ResultIndex) -> dict[str, str]:
    cases = [row for group in index.groups.values() for row in group]
    names = dict.fromkeys(name for row in cases for name in row.get("missing_metrics") or {})
    return {
        name: why_missing(cases, name)
        for name in names
        if all(row.get(name) is None for row in cases if is_done(row))
    }
