"""Compares an audit's worst case with its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ggl_lightning.audit.limits.checks import Check
from ggl_lightning.audit.limits.completeness import check_complete
from ggl_lightning.audit.limits.limits import Limits
from ggl_lightning.audit.results.collect import collect
from ggl_lightning.audit.results.schema import metric_title
from ggl_lightning.audit.statistics import compute_statistics
from ggl_lightning.errors import UserError, check_choice
from ggl_lightning.metrics.normalized_leakage import NOT_BEATEN


def check_results(
    run_dirs: Sequence[Path], limits: Limits, defenses: Sequence[str] = ()
) -> list[Check]:
    """Compares the worst case of run folders with limits.

    A number that is missing does not pass, nor one that rests on too few images; nor do failed,
    damaged or unfinished cases, since they could be those that leak.

    Args:
        run_dirs: Run folders of finished audits; several are merged.
        limits: The limits.
        defenses: Which defenses must keep to them; all if there are none.

    Returns:
        First whether the audit is complete, then what was checked of each defense.

    Raises:
        UserError: If the results cannot be read, or a defense is not among them.
    """
    results = collect(run_dirs)
    entries = {
        str(entry["defense"]): entry
        for entry in compute_statistics(results.rows, results.utility)["worst_case"]
    }
    if not entries:
        raise UserError(
            f"{', '.join(map(str, run_dirs))} holds no case of an attack: there is no worst case."
        )
    for defense in defenses:
        check_choice("--only", defense, list(entries))
    chosen = list(dict.fromkeys(defenses)) or list(entries)
    found = [check_complete(results, run_dirs, chosen)]
    for defense in chosen:
        if limits.leakage is not None:
            found.append(_leakage(entries[defense], limits))
        if limits.identification is not None:
            found.append(_identification(entries[defense], limits))
        if limits.no_leak:
            found.append(_verdict(entries[defense]))
    return found


def _leakage(entry: Mapping[str, Any], limits: Limits) -> Check:
    metric = limits.metric or entry["metric"]
    numbers = entry["metrics"][metric]["auditor"]
    value, why = numbers.get("leakage"), numbers.get("missing")
    if value is None and why is None:
        why = "the bound was not run" if "bound" not in numbers else NOT_BEATEN
    return _within(
        Check(entry["defense"], "leakage", False, f"by {metric_title(metric)}, "),
        numbers,
        value,
        why,
        numbers.get("leakage_low"),
        numbers.get("leakage_high"),
        limits.leakage,
        limits,
    )


def _identification(entry: Mapping[str, Any], limits: Limits) -> Check:
    numbers = entry["identification"]
    return _within(
        Check(entry["defense"], "identification", False, ""),
        numbers,
        numbers.get("rate"),
        numbers.get("missing"),
        numbers.get("low"),
        numbers.get("high"),
        limits.identification,
        limits,
    )


def _within(
    check: Check,
    numbers: Mapping[str, Any],
    value: float | None,
    why: str | None,
    low: float | None,
    high: float | None,
    limit: float | None,
    limits: Limits,
) -> Check:
    """The check of one number, whose text so far is what comes before it."""
    assert limit is not None
    if value is None:
        return _with(check, False, f"missing: {why}")
    between = "no interval" if low is None or high is None else f"95% {low:.3g} to {high:.3g}"
    count = numbers["count"]
    said = f"{value:.3g} ({between}, {count} images, {numbers['attack']})"
    if count < limits.min_images:
        return _with(check, False, f"{said}: at least {limits.min_images} images are needed")
    if limits.certain:
        if high is None:
            return _with(check, False, f"{said}: it has no upper end to compare with {limit:g}")
        value = high
    passed = value <= limit
    end = "its upper end " if limits.certain else ""
    return _with(check, passed, f"{said}: {end}{'within' if passed else 'exceeds'} {limit:g}")


def _verdict(entry: Mapping[str, Any]) -> Check:
    said = {"leak": "leak shown", "no_leak": "no leak shown", "not_judged": "not judged"}
    text = f"{said[entry['verdict']]}: {entry['reason']}"
    return Check(entry["defense"], "verdict", entry["verdict"] == "no_leak", text)


def _with(check: Check, passed: bool, text: str) -> Check:
    return Check(check.subject, check.what, passed, check.text + text)
