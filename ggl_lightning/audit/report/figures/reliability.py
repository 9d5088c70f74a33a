"""What attacks expected of their answers, beside what these came to."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from ggl_lightning.audit.plan.roles import ATTACK
from ggl_lightning.audit.report.estimates import format_number
from ggl_lightning.audit.report.figures.svg import drawing, inline
from ggl_lightning.audit.report.palette import MUTED, SURFACE, Palette
from ggl_lightning.audit.results.row import is_member
from ggl_lightning.audit.results.schema import Row, is_done

MOST_POINTS = 2000
"""Cases drawn at most, spread over all: more would show the same."""


def draw_reliability(rows: Sequence[Row], palette: Palette) -> Markup | None:
    """Mean squared errors that attacks expected against those they made, both as PSNR in dB.

    On the line an expectation was right; above it the answer is better than expected.

    Args:
        rows: All cases.
        palette: Colours and markers.

    Returns:
        None if no attack said what it expects, or no private image is known.
    """
    known = [
        row
        for row in rows
        if row["role"] == ATTACK.name
        and is_done(row)
        and not is_member(row)
        and row.get("predicted_mse")
        and row.get("mse")
    ]
    if not known:
        return None
    shown = known[:: math.ceil(len(known) / MOST_POINTS)]
    with drawing() as (figure, axes):
        for defense in dict.fromkeys(row["defense"] for row in shown):
            ours = [row for row in shown if row["defense"] == defense]
            color, filled = palette.color(defense), palette.filled(defense)
            for attack in dict.fromkeys(row["attack"] for row in ours):
                some = [row for row in ours if row["attack"] == attack]
                axes.plot(
                    [_psnr(row["predicted_mse"]) for row in some],
                    [_psnr(row["mse"]) for row in some],
                    palette.marker(attack),
                    color=color,
                    markerfacecolor=color if filled else SURFACE,
                    markeredgecolor=SURFACE if filled else color,
                    markersize=5.5,
                )
        ends = [*axes.get_xlim(), *axes.get_ylim()]
        axes.plot([min(ends), max(ends)], [min(ends), max(ends)], color=MUTED, linewidth=1)
        axes.set_xlabel("expected PSNR, dB")
        axes.set_ylabel("PSNR, dB")
        off = [_psnr(row["mse"]) - _psnr(row["predicted_mse"]) for row in known]
        mean = sum(off) / len(off)
        spread = sum(abs(each) for each in off) / len(off)
        words = (
            f"Answers are better than expected by {format_number(mean, 2)} dB in the mean, and off "
            f"by {format_number(spread, 2)} dB, over {len(known)} cases."
        )
        return inline(figure, "reliability", "What attacks expected of their answers", words)


def _psnr(mse: float) -> float:
    return 10 * math.log10(4 / mse)
