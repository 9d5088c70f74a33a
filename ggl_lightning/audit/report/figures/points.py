"""A group's marker with its intervals."""

from __future__ import annotations

from matplotlib.axes import Axes

from ggl_lightning.audit.report.estimates import Estimate
from ggl_lightning.audit.report.groups import Group
from ggl_lightning.audit.report.palette import SURFACE, Palette


def draw_point(
    axes: Axes, x: Estimate | float, y: Estimate, group: Group, palette: Palette
) -> None:
    """Draws a group at ``(x, y)``, if both are known, with the intervals of those that have one."""
    horizontal = x if isinstance(x, Estimate) else Estimate(x)
    if horizontal.value is None or y.value is None:
        return
    color, filled = palette.color(group.defense), palette.filled(group.defense)
    axes.errorbar(
        [horizontal.value],
        [y.value],
        xerr=_reach(horizontal),
        yerr=_reach(y),
        fmt=palette.marker(group.attack),
        color=color,
        markerfacecolor=color if filled else SURFACE,
        markeredgecolor=SURFACE if filled else color,
        elinewidth=1.4,
        capsize=0,
        zorder=3,
    )


def _reach(estimate: Estimate) -> list[list[float]] | None:
    """How far the interval reaches below and above the number."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return None
    # A bootstrap interval need not hold the estimate itself; an error bar cannot say so.
    return [
        [max(0.0, estimate.value - estimate.low)],
        [max(0.0, estimate.high - estimate.value)],
    ]
