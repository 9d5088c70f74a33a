"""The audit in a few numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ggl_lightning.audit.plan.controls import roles
from ggl_lightning.audit.plan.roles import ATTACK
from ggl_lightning.audit.report.estimates import format_count, format_duration
from ggl_lightning.audit.results.collect import Results
from ggl_lightning.audit.results.row import is_member
from ggl_lightning.audit.results.schema import Row, is_done
from ggl_lightning.audit.results.values import source_of

MOST_RANGES = 40
"""Ranges of images or seeds that are spelt out at most."""


def overview(results: Results) -> dict[str, object]:
    """Counts, sums of cost and seeds, ready to be shown."""
    rows = [row for row in results.rows if not is_member(row)]
    utility = results.utility
    attacks = [row for row in rows if row["role"] == ATTACK.name]
    everything = [*rows, *utility]
    failed = sum(not is_done(row) for row in everything)
    kinds = [
        (
            role.title,
            format_count(len(of_role)),
            format_count(int(_sum(of_role, "evaluations"))),
            format_duration(_sum(of_role, "seconds")),
        )
        for role in roles().values()
        if (of_role := [row for row in rows if row["role"] == role.name])
    ]
    if utility:
        kinds.append(
            ("utility", format_count(len(utility)), "", format_duration(_sum(utility, "seconds")))
        )
    return {
        "title": ", ".join(run.label for run in results.runs),
        "facts": [
            (format_count(len(attacks)), "attack cases"),
            (format_count(len(rows) - len(attacks)), "control cases"),
            (format_count(len({source_of(row) for row in rows})), "private images"),
            (format_count(int(_sum(rows, "evaluations"))), "candidate evaluations"),
            (format_duration(_sum(everything, "seconds")), "wall time, summed over cases"),
            (format_count(failed + len(results.unreadable)), "failed or unreadable"),
        ],
        "roles": kinds,
        "seeds": _ranges({row["seed"] for row in everything}),
        "images": _sources(rows),
    }


def _sum(rows: Iterable[Row], column: str) -> float:
    return sum(row.get(column) or 0 for row in rows)


def _sources(rows: Iterable[Row]) -> str:
    """Private images, then the names of recorded updates."""
    sources = {source_of(row) for row in rows}
    records = sorted(source for source in sources if isinstance(source, str))
    images = _ranges({source for source in sources if isinstance(source, int)})
    return ", ".join([*([images] if images else []), *records])


def _ranges(numbers: Collection[int]) -> str:
    """Integers as ``0 to 3, 7``; of many that do not follow one another, how many there are."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    if len(spans) > MOST_RANGES:
        return f"{format_count(len(numbers))} between {spans[0][0]} and {spans[-1][1]}"
    return ", ".join(f"{low}" if low == high else f"{low} to {high}" for low, high in spans)
