"""Leakage against a defense's strength."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from ggl_lightning.audit.report.estimates import format_significant
from ggl_lightning.audit.report.figures.points import draw_point
from ggl_lightning.audit.report.figures.svg import drawing, inline, make_logarithmic
from ggl_lightning.audit.report.groups import Group
from ggl_lightning.audit.report.palette import MUTED, Palette, is_undefended
from ggl_lightning.audit.report.strengths import Sweep
from ggl_lightning.audit.results.schema import metric_title

_LOG_FROM = 20  # a parameter whose values span this factor is drawn on a logarithmic axis


def draw_strength(
    sweep: Sweep, groups: Sequence[Group], palette: Palette, name: str
) -> Markup | None:
    """Normalised leakage against one parameter; None if fewer than two points have a leakage.

    The undefended leakage of each attack is a dashed line across.

    Args:
        sweep: The parameter and its groups.
        groups: All groups, the undefended ones among them.
        palette: Colours and markers.
        name: The figure's name in the page.
    """
    lines = [[g for g in line if g.leakage.value is not None] for line in sweep.lines]
    values = [sweep.value(group) for line in lines for group in line]
    if len(values) < 2:
        return None
    metric = metric_title(groups[0].headline)
    words = []
    with drawing() as (figure, axes):
        axes.axhline(0, color=MUTED, linewidth=1)
        for group in groups:
            if is_undefended(group.parameters) and group.leakage.value is not None:
                axes.axhline(
                    group.leakage.value,
                    color=palette.color(group.defense),
                    linewidth=1.2,
                    linestyle=(0, (8, 3)),
                )
                axes.plot(
                    [1],
                    [group.leakage.value],
                    palette.marker(group.attack),
                    color=palette.color(group.defense),
                    transform=axes.get_yaxis_transform(),  # at the right edge, whatever x is
                    clip_on=False,
                )
                words.append(f"undefended under {group.attack} {group.leakage.format(2)}")
        for line in lines:
            axes.plot(
                [sweep.value(group) for group in line],
                [value for group in line if (value := group.leakage.value) is not None],
                color=MUTED,
                linewidth=1.2,
                linestyle=palette.dashes(line[0].attack) if line else "-",
            )
            for group in line:
                draw_point(axes, sweep.value(group), group.leakage, group, palette)
                words.append(
                    f"{sweep.parameter} {format_significant(sweep.value(group))} under "
                    f"{group.attack} {group.leakage.format(2)}"
                )
        if min(values) > 0 and max(values) / min(values) >= _LOG_FROM:
            make_logarithmic(axes, "x")
        axes.set_title(sweep.defense_class)
        axes.set_xlabel(sweep.parameter)
        axes.set_ylabel(f"normalised leakage by {metric}")
        axes.margins(0.08)
        title = f"Leakage against {sweep.parameter} of {sweep.defense_class}"
        return inline(figure, name, title, f"Leakage: {'; '.join(words)}.")
