"""From run folders to the report's files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ggl_lightning.atomic_file import write_chunks
from ggl_lightning.audit.report.groups import read_groups
from ggl_lightning.audit.report.latex import latex_table
from ggl_lightning.audit.report.markdown import markdown_table
from ggl_lightning.audit.report.page import render_page
from ggl_lightning.audit.report.tables import csv_lines, parquet_bytes, results_table
from ggl_lightning.audit.results.collect import Results, collect
from ggl_lightning.audit.results.numbers import dumps
from ggl_lightning.audit.results.schema import Row
from ggl_lightning.audit.statistics import compute_statistics
from ggl_lightning.command_names import as_called
from ggl_lightning.errors import UserError


def build_report(run_dirs: Sequence[Path], output: Path) -> Path:
    """Writes the report of one or several run folders, from what is in them alone.

    The same results give the same bytes. Files: ``report.html``, ``results.csv``,
    ``results.parquet``, ``summary.json``, ``statistics.json``, ``table.tex`` and ``table.md``.

    Args:
        run_dirs: Run folders; several are merged (`collect.collect`).
        output: Where to write; created if it is missing.

    Returns:
        The path of ``report.html``.

    Raises:
        UserError: If the results cannot be read or contradict each other, or ``output`` cannot be
            written to.
    """
    write_report(collect(run_dirs), output)
    return output / "report.html"


def write_report(results: Results, output: Path) -> dict[str, Any]:
    """Writes the report of results that have been read; otherwise like `build_report`.

    Returns:
        The statistics.
    """
    statistics = compute_statistics(results.rows, results.utility)
    groups = read_groups(statistics, results.defenses, results.attacks)
    table = results_table(results.rows)
    files: dict[str, Iterable[bytes]] = {
        "results.csv": csv_lines(table),
        "results.parquet": [parquet_bytes(table)],
        "summary.json": _row_by_row(results.rows),
        "statistics.json": [dumps(statistics, indent=2).encode(), b"\n"],
        "table.tex": [latex_table(groups).encode()],
        "table.md": [markdown_table(results.rows).encode()],
        "report.html": [render_page(results, statistics, groups).encode()],
    }
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_chunks(output / name, content)
    except OSError as error:
        raise UserError(
            f"The report cannot be written to {output} ({error.strerror}): mend that, or write it "
            f"elsewhere with {as_called('ggl-audit')} report RUN_DIR --output DIR."
        ) from error
    return statistics


def _row_by_row(rows: Sequence[Row]) -> Iterator[bytes]:
    """A list with one row in a line."""
    for position, row in enumerate(rows):
        yield f"{',' if position else '['}\n{dumps(row)}".encode()
    yield b"\n]\n" if rows else b"[]\n"
