"""The table an audit prints when it is done."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ggl_lightning.audit.case import Role
from ggl_lightning.audit.row import DONE, CaseResult

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


def format_table(results: Iterable[CaseResult], folder: Path) -> str:
    """Formats an audit's results as text, with the paths of those of its files that are there.

    Beyond 100 attacks the rest is left to the files.

    ``random`` is the mean PSNR of random samples of the prior against the same private image and
    ``gain`` what the attack is above it, both in dB.

    Args:
        results: The rows of all cases.
        folder: The run folder.
    """
    shown = [row for row in results if (row["role"], row["status"]) == (Role.attack, DONE)]
    rows = [[title for title, _ in _COLUMNS]]
    for result in shown[:MOST_ROWS]:
        values = {
            **result,
            "gain": result["psnr"] - result["psnr_random_mean"],
            "label_correct": "right" if result["label_correct"] else "wrong",
        }
        rows.append([form.format(**values) for _, form in _COLUMNS])
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    lines = ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    if len(shown) > MOST_ROWS:
        lines.append(f"and {len(shown) - MOST_ROWS} more attacks, in results.csv")
    files = ["report.html", "summary.png", "results.csv", "statistics.json", "cases", "tensorboard"]
    there = [str(folder / file) for file in files if (folder / file).exists()]
    return "\n".join([*lines, "", *there])
