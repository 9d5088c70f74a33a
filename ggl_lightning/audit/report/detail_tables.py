"""Tables below the verdict: differences, failures, what is missing, what utility was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ggl_lightning.audit.report.estimates import (
    format_duration,
    format_significant,
    read_estimate,
)
from ggl_lightning.audit.report.html_table import Cell, Heading, Table, plain
from ggl_lightning.audit.report.titles import METRIC_TITLES, ROLE_TITLES
from ggl_lightning.audit.results.collect import Results
from ggl_lightning.audit.results.rows import METRICS, Row

MOST_ROWS = 300
"""Rows of one of these tables at most: everything is in the files beside the page."""


def differences_table(differences: Sequence[Mapping[str, Any]], attacks: Sequence[str]) -> Table:
    """Paired differences between defenses on the same images.

    Args:
        differences: Those of the statistics.
        attacks: Names of the attacks in order.
    """
    table = Table(
        "differences",
        "Paired differences between defenses, on the same images",
        [
            Heading("Defenses", numeric=False),
            Heading("Attack", numeric=False),
            Heading("Metric", numeric=False),
            Heading("Mean difference"),
            Heading("p-value"),
            Heading("Adjusted p-value"),
            Heading("Images"),
        ],
        left_out=max(0, len(differences) - MOST_ROWS),
    )
    known = {metric: position for position, metric in enumerate(METRICS)}
    ordered = sorted(
        differences,
        key=lambda entry: (
            known.get(entry["metric"], len(known)),
            attacks.index(entry["attack"]),
        ),
    )
    for entry in ordered[:MOST_ROWS]:
        difference = read_estimate(entry, "mean", "not computed")
        digits = 2 if entry["metric"].startswith("psnr") else 4
        table.rows.append(
            [
                Cell(f"{entry['defense_a']} \N{MINUS SIGN} {entry['defense_b']}"),
                Cell(entry["attack"], attack=entry["attack"]),
                plain(METRIC_TITLES.get(entry["metric"], entry["metric"])),
                table.number(difference, digits),
                *(_p_value(entry.get(name)) for name in ("p_value", "p_adjusted")),
                plain(None)
                if difference.count is None
                else Cell(str(difference.count), sort=difference.count),
            ]
        )
    return table


def failures_table(results: Results) -> Table:
    """Cases and utility runs that failed, and results that cannot be read."""
    failed = [
        [Cell(row["name"]), plain(_kind(row)), Cell(row.get("error") or "no reason was recorded")]
        for row in [*results.rows, *results.utility]
        if row["status"] == "failed"
    ]
    failed += [
        [Cell(entry.place), plain("unreadable"), Cell(entry.reason)] for entry in results.unreadable
    ]
    return Table(
        "failures",
        "Failed cases and unreadable results",
        [
            Heading("Name", numeric=False),
            Heading("Kind", numeric=False),
            Heading("Reason", numeric=False, css_class="words"),
        ],
        failed[:MOST_ROWS],
        left_out=max(0, len(failed) - MOST_ROWS),
    )


def missing_metrics_table(statistics: Mapping[str, Any], rows: Sequence[Row]) -> Table:
    """Metrics that were not computed for some or all cases, by reason."""
    done = [row for row in rows if row["status"] == "done"]
    counts: dict[tuple[str, str], int] = {}
    for row in done:
        for reason in (row.get("missing_metrics") or {}).items():
            counts[reason] = counts.get(reason, 0) + 1
    for reason in (statistics.get("missing_metrics") or {}).items():
        counts.setdefault(reason, 0)
    named = {metric for (metric, _), count in counts.items() if count}
    return Table(
        "missing",
        "Metrics that were not computed",
        [
            Heading("Metric", numeric=False),
            Heading("Reason", numeric=False, css_class="words"),
            Heading("Cases"),
        ],
        [
            [
                plain(METRIC_TITLES.get(metric, metric)),
                Cell(reason),
                Cell(f"{count} of {len(done)}" if count else "all", sort=count or len(done)),
            ]
            for (metric, reason), count in sorted(counts.items())
            if count or metric not in named
        ],
    )


def utility_table(rows: Sequence[Row]) -> Table:
    """The utility runs behind the accuracies."""
    table = Table(
        "utility",
        "Training under each defense",
        [
            Heading("Defense", numeric=False),
            Heading("Seed"),
            Heading("Accuracy"),
            Heading("Federated rounds"),
            Heading("Clients"),
            Heading("Test images"),
            Heading("Commonest class"),
            Heading("Wall time"),
        ],
    )
    for row in rows:
        if row["status"] != "done":
            continue
        accuracy, share = row.get("accuracy"), row.get("majority_share")
        seconds = row.get("seconds")
        table.rows.append(
            [
                Cell(row["defense"], defense=row["defense"]),
                Cell(str(row["seed"]), sort=row["seed"]),
                _percentage(accuracy),
                *(_integer(row.get(name)) for name in ("rounds", "clients", "test_images")),
                _percentage(share),
                plain(None) if seconds is None else Cell(format_duration(seconds), sort=seconds),
            ]
        )
    return table


def _integer(value: int | None) -> Cell:
    return plain(None) if value is None else Cell(str(value), sort=value)


def _percentage(share: float | None) -> Cell:
    return plain(None) if share is None else Cell(f"{100 * share:.1f}%", sort=share)


def _kind(row: Row) -> str:
    return ROLE_TITLES[row["role"]] if "role" in row else "utility"


def _p_value(value: float | None) -> Cell:
    if value is None:
        return plain(None)
    return Cell("< 0.0001" if value < 1e-4 else format_significant(value, 2), sort=value)
