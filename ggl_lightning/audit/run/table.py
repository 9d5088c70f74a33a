"""The table an audit prints when it is done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ggl_lightning.audit.plan.roles import ATTACK
from ggl_lightning.audit.report.estimates import MISSING
from ggl_lightning.audit.results.row import is_member
from ggl_lightning.audit.results.schema import METRICS, Metric, Row, is_done
from ggl_lightning.audit.results.values import metric_value, source_of
from ggl_lightning.audit.run.received_update import EMPTY

MOST_ROWS = 100
"""Attacks shown at most."""

_BEFORE = (
    ("image", "{source}"),
    ("defense", "{defense}"),
    ("attack", "{attack}"),
    ("seed", "{seed}"),
    ("label", "{label_correct}"),
)
_AFTER = (
    ("evaluations", "{evaluations}"),
    ("seconds", "{seconds:.1f}"),
)


def format_table(
    results: Iterable[Row], folder: Path, others: int = 0, said: Sequence[str] = ()
) -> str:
    """Formats an audit's results as text, with the paths of those of its files that are there.

    Beyond 100 attacks the rest is left to the files, as are members of attacks.

    ``random`` is what random samples of the prior score against the same private image, for PSNR
    their mean in dB, and ``gain`` what the attack is above it.

    Args:
        results: The rows of all cases.
        folder: The run folder.
        others: How many of its results are not of this audit's grid.
        said: Lines on all of them together.
    """
    results = list(results)
    attacks = [row for row in results if row["role"] == ATTACK.name and not is_member(row)]
    shown = [row for row in attacks if is_done(row)]
    printed = [metric for metric in METRICS.values() if metric.is_printed]
    form = [*_BEFORE, *(one for metric in printed for one in _columns(metric)), *_AFTER]
    rows = [[title for title, _ in form]]
    for result in shown[:MOST_ROWS]:
        values = {
            **result,
            "source": source_of(result),
            **{f"gain_{metric.name}": _gain(result, metric) for metric in printed},
            "label_correct": _LABELS[result["label_correct"]],
        }
        rows.append([_cell(how, values) for _, how in form])
    widths = [max(len(row[i]) for row in rows) for i in range(len(form))]
    lines = ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    if len(shown) > MOST_ROWS:
        lines.append(f"and {len(shown) - MOST_ROWS} more attacks, in results.csv")
    if others:
        lines.append(f"results in the folder that are not of this grid, included: {others}")
    empty = sum(EMPTY in (row.get("missing_metrics") or {}).values() for row in results)
    if empty:
        lines.append(f"updates among these that were empty, nothing but zeros: {empty}")
    files = ["report.html", "summary.png", "results.csv", "statistics.json", "cases", "tensorboard"]
    there = [str(folder / file) for file in files if (folder / file).exists()]
    return "\n".join([*lines, *said, "", *there])


_LABELS = {True: "right", False: "wrong", None: None}


def _columns(metric: Metric) -> list[tuple[str, str]]:
    """Title and form of a metric, and of what it is beside chance."""
    form = f":.{metric.decimals}f"
    columns = [(metric.title, f"{{{metric.name}{form}}}")]
    if metric.chance is not None:
        columns += [
            ("random", f"{{{metric.chance}{form}}}"),
            ("gain", f"{{gain_{metric.name}:+.{metric.decimals}f}}"),
        ]
    return columns


def _gain(result: Row, metric: Metric) -> float | None:
    """What the attack is above chance; exact ones count as statistics have it."""
    if metric.chance is None:
        return None
    found, chance = (metric_value(result, name) for name in (metric.name, metric.chance))
    return None if found is None or chance is None else found - chance


def _cell(form: str, values: Row) -> str:
    """A value in its column's form; an em dash if it is missing."""
    name = form[1:-1].partition(":")[0]
    return MISSING if values[name] is None else form.format(**values)
