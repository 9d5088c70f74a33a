"""``report.html``: everything a reader needs, in one file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ggl_lightning.audit.plan.roles import ATTACK
from ggl_lightning.audit.report.answer import answer
from ggl_lightning.audit.report.comparison_grid import header_spans, make_grid
from ggl_lightning.audit.report.figures.identification import best_rank, draw_identification
from ggl_lightning.audit.report.figures.loss_curves import draw_loss_curves
from ggl_lightning.audit.report.figures.privacy_utility import draw_privacy_utility
from ggl_lightning.audit.report.figures.reliability import draw_reliability
from ggl_lightning.audit.report.figures.strength import draw_strength
from ggl_lightning.audit.report.groups import Group
from ggl_lightning.audit.report.losses import LossCurve, NoCurveError, read_curve
from ggl_lightning.audit.report.overview import overview
from ggl_lightning.audit.report.page_tables import (
    differences_table,
    failures_table,
    leakage_table,
    missing_metrics_table,
    utility_table,
    verdict_table,
)
from ggl_lightning.audit.report.palette import MARKERS, Palette
from ggl_lightning.audit.report.strengths import find_sweeps
from ggl_lightning.audit.report.verdict import judge
from ggl_lightning.audit.report.worst_case import (
    WORST_CASE,
    read_worst_cases,
    worst_case_groups,
    worst_case_table,
)
from ggl_lightning.audit.results.collect import Results
from ggl_lightning.audit.results.schema import Row, is_done, metric_title

MOST_CURVES = 200
"""Loss curves of a defense and an attack that are read at most: more would show the same."""

_TEMPLATES = "templates"


def render_page(results: Results, statistics: Mapping[str, Any], groups: Sequence[Group]) -> str:
    """The page.

    Args:
        results: What was read from the run folders.
        statistics: What `compute_statistics` made of it.
        groups: The statistics' groups in the report's order.
    """
    parameters = {group.defense: group.parameters for group in groups}
    attacks = [WORST_CASE, *results.attacks] if len(results.attacks) > 1 else results.attacks
    palette = Palette(results.defenses, attacks, parameters)
    verdicts = [judge(group) for group in groups]
    worst = read_worst_cases(statistics, groups, results.defenses)
    several = len(results.attacks) > 1
    plotted = [*(worst_case_groups(worst, groups) if several else []), *groups]
    grid = make_grid(results)
    losses, without_losses, losses_left_out = _loss_figures(results, palette)
    script = asset("report.js")
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            style=Markup(asset("report.css")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            overview=overview(results),
            results=results,
            palette=palette,
            marker_shapes={attack: Markup(MARKERS[palette.marker(attack)]) for attack in attacks},
            headline=metric_title(groups[0].headline) if groups else "",
            answer=answer(worst, groups, results.rows),
            worst_case_table=worst_case_table(worst),
            worst_cases=worst,
            legend_attacks=attacks,
            verdict_table=verdict_table(groups, verdicts),
            verdicts=list(zip(groups, verdicts, strict=True)),
            leakage_table=leakage_table(groups),
            identification=draw_identification(groups, palette),
            without_bound=_without_bound(groups),
            privacy_utility=draw_privacy_utility(plotted, palette),
            without_point=_without_point(groups),
            utility_table=utility_table(results.utility),
            strengths=_strength_figures(groups, palette),
            reliability=draw_reliability(results.rows, palette),
            grid=grid,
            grid_spans=header_spans(grid.columns[1:]),
            losses=losses,
            without_losses=without_losses,
            losses_left_out=losses_left_out,
            most_curves=MOST_CURVES,
            differences_table=differences_table(
                statistics.get("differences") or [], results.attacks
            ),
            failures_table=failures_table(results),
            missing_table=missing_metrics_table(statistics, results.rows),
        )
    )


def environment() -> Environment:
    """What renders the pages' templates."""
    return Environment(
        loader=PackageLoader("ggl_lightning.audit.report", _TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def asset(name: str) -> str:
    """The text of a file beside the templates."""
    folder = resources.files("ggl_lightning.audit.report") / _TEMPLATES
    return (folder / name).read_text(encoding="utf-8")


def _without_point(groups: Sequence[Group]) -> list[str]:
    """Why groups are not in the privacy-utility plot."""
    lines = []
    for group in groups:
        for what, estimate in (("leakage", group.leakage), ("accuracy", group.utility)):
            if estimate.value is None:
                lines.append(f"{group.defense}, {group.attack}: no {what} ({estimate.reason})")
                break
    return lines


def _without_bound(groups: Sequence[Group]) -> list[str]:
    """Why groups are not beside the bound of the mechanism, if any is."""
    if all(best_rank(group) is None for group in groups):
        return []
    return [
        f"{group.defense}, {group.attack}: {group.noise_multiplier.reason or 'no identification'}"
        for group in groups
        if best_rank(group) is None
    ]


def _strength_figures(groups: Sequence[Group], palette: Palette) -> list[Markup]:
    figures = (
        draw_strength(sweep, groups, palette, f"strength-{i}")
        for i, sweep in enumerate(find_sweeps(groups), start=1)
    )
    return [figure for figure in figures if figure is not None]


def _loss_figures(results: Results, palette: Palette) -> tuple[list[Markup], dict[str, int], int]:
    """A figure per attack, how many cases have no curve by reason, and how many were not read."""
    cases: dict[tuple[str, str], list[Row]] = {}
    for row in results.rows:
        if row["role"] == ATTACK.name and is_done(row):
            cases.setdefault((row["attack"], row["defense"]), []).append(row)
    curves: dict[str, dict[str, list[LossCurve]]] = {}
    without: dict[str, int] = {}
    for (attack, defense), of_both in cases.items():
        read = min(len(of_both), MOST_CURVES)
        for i in range(read):  # evenly spaced
            row = of_both[i * len(of_both) // read]
            try:
                curve = read_curve(results.folders[row["key"]] / "losses.csv")
            except NoCurveError as error:
                without[str(error)] = without.get(str(error), 0) + 1
                continue
            curves.setdefault(attack, {}).setdefault(defense, []).append(curve)
    figures = [
        draw_loss_curves(
            attack,
            {name: curves[attack][name] for name in results.defenses if name in curves[attack]},
            palette,
            f"losses-{i}",
        )
        for i, attack in enumerate(results.attacks, start=1)
        if attack in curves
    ]
    left_out = sum(max(0, len(of_both) - MOST_CURVES) for of_both in cases.values())
    return figures, without, left_out
