"""The verdict table, and the leakage by every metric."""

from __future__ import annotations

from collections.abc import Sequence

from ggl_lightning.audit.report.groups import FEATURES, Group
from ggl_lightning.audit.report.html_table import Cell, Heading, Table
from ggl_lightning.audit.report.titles import METRIC_TITLES
from ggl_lightning.audit.report.verdict import Verdict
from ggl_lightning.audit.results.rows import METRICS


def verdict_table(groups: Sequence[Group], verdicts: Sequence[Verdict]) -> Table:
    """Defense by attack: what leaks, with what certainty, and what the defense costs."""
    headline = groups[0].headline if groups else ""
    metrics = list(dict.fromkeys(("psnr", "ssim", headline)))
    table = Table(
        "verdict",
        "Defense by attack, with 95% intervals",
        [
            Heading("Defense", numeric=False),
            Heading("Attack", numeric=False),
            Heading("Verdict", numeric=False),
            Heading(f"Leakage by {METRIC_TITLES.get(headline, headline)}"),
            *(Heading(f"Top-{top} {by}") for by in FEATURES for top in (1, 5)),
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
                Cell(finding.value, css_class=f"finding {finding.css_class}"),
                table.number(group.leakage, 2),
                *(
                    table.number(group.identification(by, top), 0, percent=True)
                    for by in FEATURES
                    for top in (1, 5)
                ),
                *(table.number(group.metric(metric), _digits(metric)) for metric in metrics),
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
            *(Heading(METRIC_TITLES[metric]) for metric in metrics),
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
    title = METRIC_TITLES.get(metric, metric)
    return f"{title}, dB" if metric.startswith("psnr") else title


def _digits(metric: str) -> int:
    return 1 if metric.startswith("psnr") else 3
