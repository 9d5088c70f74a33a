"""Identification beside what the noise in an update allows at most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from ggl_lightning.audit.report.estimates import Estimate, format_significant
from ggl_lightning.audit.report.figures.points import draw_point
from ggl_lightning.audit.report.figures.svg import drawing, inline, make_logarithmic
from ggl_lightning.audit.report.groups import Group
from ggl_lightning.audit.report.palette import MUTED, Palette
from ggl_lightning.audit.results.schema import RANKS
from ggl_lightning.metrics import identification_bound

_BEYOND = 4.0  # the curve goes on by this factor on both sides of the noise multipliers there are
_POINTS = 100


def draw_identification(groups: Sequence[Group], palette: Palette) -> Markup | None:
    """Top-1 rates against the noise multiplier, under the curve that no attack exceeds.

    Of a group with several ranks the one with the highest rate is drawn. None if no group has both
    a rate and a bound.
    """
    shown = [(group, by) for group in groups if (by := best_rank(group)) is not None]
    if not shown:
        return None
    noises = [_noise(group) for group, _ in shown]
    grid = np.geomspace(min(noises) / _BEYOND, max(noises) * _BEYOND, _POINTS)
    words = []
    with drawing() as (figure, axes):
        for decoys in sorted({group.decoys(by) or 0 for group, by in shown} - {0}):
            curve = [identification_bound(float(noise), decoys) for noise in grid]
            axes.plot(grid, curve, color=MUTED, linewidth=1.2)
            axes.axhline(1 / (decoys + 1), color=MUTED, linewidth=1, dashes=(1.5, 2.5))
        for group, by in shown:
            rate = group.identification(by, 1)
            bound = Estimate(group.mechanism_bound(by, 1))
            draw_point(axes, _noise(group), rate, group, palette)
            words.append(
                f"{group.defense} under {group.attack}: {rate.format(1, percent=True)} of at most "
                f"{bound.format(1, percent=True)} at {format_significant(_noise(group))}"
            )
        make_logarithmic(axes, "x")
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("noise multiplier")
        axes.set_ylabel("identified, top-1 (less is better)")
        title = "Identification and the bound of the mechanism"
        return inline(figure, "identification", title, f"{'; '.join(words)}.")


def best_rank(group: Group) -> str | None:
    """By which of `RANKS` a group's top-1 rate is highest; None without a rate or a bound."""
    rates = {
        by: rate
        for by in RANKS
        if (rate := group.identification(by, 1).value) is not None
        and group.mechanism_bound(by, 1) is not None
    }
    if not rates or group.noise_multiplier.value is None:
        return None
    return max(rates, key=lambda by: rates[by])


def _noise(group: Group) -> float:
    value = group.noise_multiplier.value
    assert value is not None
    return value
