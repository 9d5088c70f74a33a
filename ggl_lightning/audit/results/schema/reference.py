"""Writes ``docs/columns.md``, the reference of what results consist of.

``python -m ggl_lightning.audit.results.schema.reference > docs/columns.md``
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ggl_lightning.audit.plan.controls import roles
from ggl_lightning.audit.plan.roles import Role
from ggl_lightning.audit.results.schema.column import Column
from ggl_lightning.audit.results.schema.columns import columns
from ggl_lightning.audit.results.schema.metrics import METRICS, Metric

_KINDS = {
    "text": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "list": "JSON list",
    "object": "JSON object",
}


def reference() -> str:
    """The page, in Markdown."""
    lines = [
        "# Columns of the results",
        "",
        "Look up here what each column, metric and role is.",
        "`results.csv`, `results.parquet` and `summary.json` have one row per case, attacks",
        "and controls alike, in these columns; so has `cases/NAME/result.json`. What is missing",
        "is an empty cell, in JSON `null`, and `missing_metrics` says why. A column that is not",
        "listed comes from another version and stands last. This page is written from the code:",
        "",
        "    python -m ggl_lightning.audit.results.schema.reference > docs/columns.md",
        "",
        *_table(("column", "values", "meaning"), map(_column, columns())),
        "",
        "## Metrics",
        "",
        "Of a reconstruction beside its private image; [metrics.md](metrics.md) says more.",
        "`statistics.json` has the mean of every one, the leakage of those that have a better",
        "direction, and paired differences of defenses in those that are compared",
        "([statistics.md](statistics.md)).",
        "",
        *_table(
            ("column", "title", "range", "unit", "closer", "compared", "counts at most as"),
            map(_metric, METRICS.values()),
        ),
        "",
        "## Roles",
        "",
        "A control is compared with the attacks of the same:",
        "",
        *_table(
            ("role", "title", "what is in the place of the received update", "compared on"),
            map(_role, roles().values()),
        ),
        "",
    ]
    return "\n".join(lines)


def _column(column: Column) -> list[str]:
    return [f"`{column.name}`", _KINDS[column.kind], column.meaning]


def _metric(metric: Metric) -> list[str]:
    return [
        f"`{metric.name}`",
        metric.title,
        metric.range,
        metric.unit,
        {True: "higher", False: "lower", None: ""}[metric.higher_is_better],
        "" if metric.compared is None else "yes",
        "" if metric.ceiling is None else f"{metric.ceiling:.2f}",
    ]


def _role(role: Role) -> list[str]:
    parts = ["image", "defense" * role.has_defense, "attack" * role.has_attack, "seed"]
    return [f"`{role.name}`", role.title, role.description, ", ".join(filter(None, parts))]


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [_line(cells) for cells in (titles, ["---"] * len(titles), *rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |")


if __name__ == "__main__":
    print(reference(), end="")
