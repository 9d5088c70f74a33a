"""How far each attack's search got, by candidate evaluations."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from ggl_lightning.audit.report.estimates import format_significant
from ggl_lightning.audit.report.figures.svg import drawing, inline, make_logarithmic
from ggl_lightning.audit.report.losses import LossCurve
from ggl_lightning.audit.report.palette import Palette

POINTS = 60  # per line: a figure of this size shows no more
THIN_LINES = 48  # per figure, over all defenses


def draw_loss_curves(
    attack: str, curves: Mapping[str, Sequence[LossCurve]], palette: Palette, name: str
) -> Markup:
    """The lowest loss so far: the median over cases per defense, and single cases as thin lines.

    Args:
        attack: The attack's name.
        curves: The curves of its cases by the defense's name; none empty.
        palette: Colours.
        name: The figure's name in the page.
    """
    everything = [curve for of_defense in curves.values() for curve in of_defense]
    last = max(curve.evaluations[-1] for curve in everything)
    first = min(curve.evaluations[0] for curve in everything)
    grid = np.unique(np.round(np.linspace(first, last, POINTS)))
    each = max(1, THIN_LINES // len(curves))
    words = []
    with drawing() as (figure, axes):
        positive = all(curve.losses[-1] > 0 for curve in everything)
        for defense, of_defense in curves.items():
            values = np.stack([curve.at(grid) for curve in of_defense])
            picked = np.unique(np.linspace(0, len(values) - 1, each).round().astype(int))
            if len(values) > 1:
                for line in values[picked]:
                    axes.plot(grid, line, color=palette.color(defense), linewidth=0.6, alpha=0.35)
            with warnings.catch_warnings():  # before any case's first round there is no median
                warnings.simplefilter("ignore", RuntimeWarning)
                median = np.nanmedian(values, axis=0)
            axes.plot(grid, median, color=palette.color(defense), linewidth=2)
            reached = median[np.isfinite(median)]
            words.append(f"{defense} reaches a median of {format_significant(reached[-1])}")
        if positive:
            make_logarithmic(axes, "y")
        axes.set_title(attack)
        axes.set_xlabel("candidate evaluations")
        axes.set_ylabel("lowest loss so far")
        axes.margins(x=0.02)
        return inline(figure, name, f"Loss curves of {attack}", f"{'; '.join(words)}.")
