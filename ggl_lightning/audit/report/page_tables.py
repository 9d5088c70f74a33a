"""The page's tables: the verdict, and the details below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ggl_lightning.audit.plan.controls import role_of
from ggl_lightning.audit.report.estimates import (
    format_duration,
    format_significant,
    read_estimate,
)
from ggl_lightning.audit.report.groups import Group, ranked_by
from ggl_lightning.audit.report.html_table import Cell, Heading, Table, text_cell
from ggl_lightning.audit.report.verdict import Verdict
from ggl_lightning.audit.results.collect import Results
from ggl_lightning.audit.results.schema import (
    METRICS,
    RATES,
    TOP,
    Row,
    is_done,
    metric_title,
    summary_metrics,
)

MOST_ROWS = 300
"""Rows of one of these tables at most: everything is in the files beside the page."""


def verdict_table(groups: Sequence[Group], verdicts: Sequence[Verdict]) -> Table:
    """Defense by attack: what leaks, with what certainty, and what the defense costs."""
    headline = groups[0].headline if groups else ""
    metrics = [metric.name for metric in summary_metrics()]
    metrics = list(dict.fromkeys([*metrics, headline]))
    by_names = ranked_by(groups)
    table = Table(
        "verdict",
        "Defense by attack, with 95% intervals",
        [
            Heading("Defense", numeric=False),
            Heading("Attack", numeric=False),
            Heading("Verdict", numeric=False),
            Heading(f"Leakage by {metric_title(headline)}"),
            *(Heading(f"Top-{top} {by}") for by in by_names for top in TOP),
            *(Heading(_with_unit(metric)) for metric in metrics),
            Heading("Label accuracy"),
            Heading("Attribute agreement"),
            Heading("Utility accuracy"),
        ],
    )
    for group, verdict in zip(groups, verdicts, strict=True):
        finding = verdict.finding
        table.rows.append(
            [
                Cell(group.defense, defense=group.defense),
                Cell(group.attack, _cases(group), attack=group.attack),
                Cell(finding.of_one_attack, css_class=f"finding {finding.css_class}"),
                table.number(group.leakage, 2),
                *(
                    table.number(group.identification(by, top), 0, percent=True)
                    for by in by_names
                    for top in TOP
                ),
                *(table.number(group.metric(metric), digits_of(metric)) for metric in metrics),
                table.number(group.label_accuracy, 0, percent=True),
                table.number(group.attribute_agreement, 0, percent=True),
                table.number(group.utility, 1, percent=True),
            ]
        )
    return table


def leakage_table(groups: Sequence[Group]) -> Table:
    """Normalised leakage by every metric that has one for some group."""
    metrics = [m for m in METRICS if any(m in (g.entry.get("leakage") or {}) for g in groups)]
    table = Table(
        "leakage",
        "Normalised leakage by every metric, with 95% intervals",
        [
            Heading("Defense", numeric=False),
            Heading("Attack", numeric=False),
            *(Heading(metric_title(metric)) for metric in metrics),
        ],
    )
    for group in groups:
        table.rows.append(
            [
                Cell(group.defense, defense=group.defense),
                Cell(group.attack, attack=group.attack),
                *(table.number(group.leakage_of(metric), 2) for metric in metrics),
            ]
        )
    return table


def _cases(group: Group) -> str:
    cases, failed = group.entry["cases"], group.entry.get("failed") or 0
    share = f"{cases - failed} of {cases}" if failed else str(cases)
    return f"{share} {'case' if cases == 1 else 'cases'}"


def _with_unit(metric: str) -> str:
    return METRICS[metric].title_with_unit if metric in METRICS else metric


def digits_of(metric: str) -> int:
    """How many decimals a metric is shown with."""
    return METRICS[metric].rounded if metric in METRICS else 3


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
            *DIFFERENCE_HEADINGS,
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
        table.rows.append(
            [
                Cell(f"{entry['defense_a']} \N{MINUS SIGN} {entry['defense_b']}"),
                Cell(entry["attack"], attack=entry["attack"]),
                *difference_cells(table, entry),
            ]
        )
    return table


DIFFERENCE_HEADINGS = (
    Heading("Metric", numeric=False),
    Heading("Mean difference"),
    Heading("p-value"),
    Heading("Adjusted p-value"),
    Heading("Images"),
)
"""Of the cells that `difference_cells` gives."""


def difference_cells(table: Table, entry: Mapping[str, Any]) -> list[Cell]:
    """What a line says of a paired difference, under `DIFFERENCE_HEADINGS`.

    Args:
        table: Whose footnotes say what is missing.
        entry: One of the statistics' differences.
    """
    name = entry["metric"]
    found = read_estimate(entry, "mean", "not computed")
    return [
        text_cell(RATES.get(name) or metric_title(name)),
        table.number(found, 1, percent=True)
        if name in RATES
        else table.number(found, digits_of(name) + 1),
        *(p_value_cell(entry.get(which)) for which in ("p_value", "p_adjusted")),
        text_cell(None) if found.count is None else Cell(str(found.count), sort=found.count),
    ]


def failures_table(results: Results) -> Table:
    """Cases and utility runs that failed, and results that cannot be read."""
    failed = [
        [
            Cell(row["name"]),
            text_cell(_kind(row)),
            Cell(row.get("error") or "no reason was recorded"),
        ]
        for row in [*results.rows, *results.utility]
        if not is_done(row)
    ]
    failed += [
        [Cell(entry.place), text_cell("unreadable"), Cell(entry.reason)]
        for entry in results.unreadable
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
    done = [row for row in rows if is_done(row)]
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
                text_cell(metric_title(metric)),
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
        if not is_done(row):
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
                text_cell(None)
                if seconds is None
                else Cell(format_duration(seconds), sort=seconds),
            ]
        )
    return table


def _integer(value: int | None) -> Cell:
    return text_cell(None) if value is None else Cell(str(value), sort=value)


def _percentage(share: float | None) -> Cell:
    return text_cell(None) if share is None else Cell(f"{100 * share:.1f}%", sort=share)


def _kind(row: Row) -> str:
    return role_of(row["role"]).title if "role" in row else "utility"


def p_value_cell(value: float | None) -> Cell:
    """A cell for a p-value; ``—`` for None."""
    if value is None:
        return text_cell(None)
    return Cell("< 0.0001" if value < 1e-4 else format_significant(value, 2), sort=value)
