"""The table an audit prints when it is done."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ggl_lightning.audit.plan.roles import ATTACK
from ggl_lightning.audit.report.estimates import MISSING
from ggl_lightning.audit.results.measures import metric_value
from ggl_lightning.audit.results.row import DONE, CaseResult
from ggl_lightning.audit.run.received_update import EMPTY

MOST_ROWS = 100
"""Attacks shown at most."""

_COLUMNS = (
    ("image", "{image_index}"),
    ("defense", "{defense}"),
    ("attack", "{attack}"),
    ("seed", "{seed}"),
    ("label", "{label_correct}"),
    ("MSE", "{mse:.4f}"),
    ("PSNR", "{psnr:.2f}"),
    ("random", "{psnr_random_mean:.2f}"),
    ("gain", "{gain:+.2f}"),
    ("SSIM", "{ssim:.3f}"),
    ("evaluations", "{evaluations}"),
    ("seconds", "{seconds:.1f}"),
)


def format_table(results: Iterable[CaseResult], folder: Path, others: int = 0) -> str:
    """Formats an audit's results as text, with the paths of those of its files that are there.

    Beyond 100 attacks the rest is left to the files.

    ``random`` is the mean PSNR of random samples of the prior against the same private image and
    ``gain`` what the attack is above it, both in dB.

    Args:
        results: The rows of all cases.
        folder: The run folder.
        others: How many of its results are not of this audit's grid.
    """
    results = list(results)
    shown = [row for row in results if (row["role"], row["status"]) == (ATTACK.name, DONE)]
    rows = [[title for title, _ in _COLUMNS]]
    for result in shown[:MOST_ROWS]:
        values = {
            **result,
            "gain": _gain(result),
            "label_correct": _LABELS[result["label_correct"]],
        }
        rows.append([_cell(form, values) for _, form in _COLUMNS])
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
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
    return "\n".join([*lines, "", *there])


_LABELS = {True: "right", False: "wrong", None: None}


def _gain(result: CaseResult) -> float | None:
    """What the attack's PSNR is above chance; exact ones count as statistics have it."""
    found, chance = (metric_value(result, name) for name in ("psnr", "psnr_random_mean"))
    return None if found is None or chance is None else found - chance


def _cell(form: str, values: CaseResult) -> str:
    """A value in its column's form; an em dash if it is missing."""
    name = form[1:-1].partition(":")[0]
    return MISSING if values[name] is None else form.format(**values)
