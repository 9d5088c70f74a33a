"""The comparison of two runs as a page, and as text for the screen."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from ggl_lightning.atomic_file import write_chunks
from ggl_lightning.audit.report.html_table import Cell, Heading, Table
from ggl_lightning.audit.report.page import asset, environment
from ggl_lightning.audit.report.page_tables import DIFFERENCE_HEADINGS, difference_cells
from ggl_lightning.audit.report.palette import Palette
from ggl_lightning.audit.report.run_comparison import RunComparison
from ggl_lightning.audit.results.numbers import dumps
from ggl_lightning.errors import UserError


def write_comparison(comparison: RunComparison, output: Path) -> Path:
    """Writes ``comparison.html`` and ``comparison.json``.

    Args:
        comparison: The comparison.
        output: The folder; created if it is missing.

    Returns:
        The path of the page.

    Raises:
        UserError: If it cannot be written.
    """
    page = output / "comparison.html"
    try:
        output.mkdir(parents=True, exist_ok=True)
        write_chunks(page, [render_comparison(comparison).encode()])
        content = dumps(comparison.as_json(), indent=2)
        write_chunks(output / "comparison.json", [content.encode(), b"\n"])
    except OSError as error:
        raise UserError(
            f"The comparison cannot be written to {output} ({error.strerror}): give another folder "
            "with --output."
        ) from error
    return page


def render_comparison(comparison: RunComparison) -> str:
    """The page: one file that loads nothing."""
    entries = comparison.differences
    defenses = list(dict.fromkeys(entry["defense"] for entry in entries))
    attacks = list(dict.fromkeys(entry["attack"] for entry in entries))
    script = asset("report.js")
    return (
        environment()
        .get_template("comparison.html.j2")
        .render(
            style=Markup(asset("report.css")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            palette=Palette(defenses, attacks, {}),
            marker_shapes={},
            comparison=comparison,
            table=comparison_table(comparison),
            notes=notes_of(comparison),
        )
    )


def comparison_table(comparison: RunComparison) -> Table:
    """Defense by attack by metric: the first run's mean less the second's."""
    a, b = comparison.labels
    table = Table(
        "comparison",
        f"{a} \N{MINUS SIGN} {b}, on the same images, with 95% intervals",
        [
            Heading("Defense", numeric=False),
            Heading("Attack", numeric=False),
            *DIFFERENCE_HEADINGS,
        ],
    )
    for entry in comparison.differences:
        table.rows.append(
            [Cell(entry["defense"]), Cell(entry["attack"]), *difference_cells(table, entry)]
        )
    return table


def notes_of(comparison: RunComparison) -> list[str]:
    """What a reader of the differences must know, in sentences."""
    notes = [f"Not the same in both: {', '.join(comparison.changed)}."] * bool(comparison.changed)
    if comparison.unchecked:
        notes.append(
            f"Of {comparison.unchecked} of the images it could not be told whether they are the "
            "same in both: their pictures are not there."
        )
    for label, only in zip(comparison.labels, comparison.only, strict=True):
        if only:
            pairs = ", ".join(f"{attack} on {defense}" for defense, attack in only)
            notes.append(f"Only in {label}: {pairs}.")
    return notes


def comparison_text(comparison: RunComparison) -> str:
    """The same for the screen."""
    table = comparison_table(comparison)
    rows = [[heading.title for heading in table.headings]]
    rows += [[_shown(cell, table) for cell in row] for row in table.rows]
    return "\n".join([table.caption, *_aligned(rows), *notes_of(comparison)])


def _shown(cell: Cell, table: Table) -> str:
    if cell.note is not None:
        return f"{cell.text} ({table.notes[cell.note - 1]})"
    return f"{cell.text} ({cell.detail})" if cell.detail else cell.text


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
