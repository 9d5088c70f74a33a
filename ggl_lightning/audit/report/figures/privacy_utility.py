"""What a defense costs beside what it hides."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from ggl_lightning.audit.report.figures.points import draw_point
from ggl_lightning.audit.report.figures.svg import drawing, inline
from ggl_lightning.audit.report.groups import Group
from ggl_lightning.audit.report.palette import MUTED, Palette
from ggl_lightning.audit.results.schema import metric_title


def draw_privacy_utility(groups: Sequence[Group], palette: Palette) -> Markup | None:
    """Accuracy against normalised leakage, a point per group; None if no group has both."""
    shown = [g for g in groups if g.leakage.value is not None and g.utility.value is not None]
    if not shown:
        return None
    metric = metric_title(shown[0].headline)
    with drawing() as (figure, axes):
        axes.axvline(0, color=MUTED, linewidth=1, dashes=(4, 3))
        for group in shown:
            draw_point(axes, group.leakage, group.utility, group, palette)
        shares = {share for g in shown if (share := g.majority_share) is not None}
        for share in sorted(shares):
            axes.axhline(share, color=MUTED, linewidth=1, dashes=(1.5, 2.5))
        axes.set_xlabel(f"normalised leakage by {metric} (less is better)")
        axes.set_ylabel("accuracy (more is better)")
        axes.margins(0.08)
        words = "; ".join(
            f"{g.defense} under {g.attack}: leakage {g.leakage.format(2)}, "
            f"accuracy {g.utility.format(1, percent=True)}"
            for g in shown
        )
        return inline(figure, "privacy-utility", "Privacy against utility", f"{words}.")
