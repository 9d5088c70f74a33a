"""The verdict table as LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from ggl_lightning.audit.report.estimates import Estimate
from ggl_lightning.audit.report.groups import Group, ranked_by
from ggl_lightning.audit.results.schema import (
    TOP,
    Metric,
    headline_metrics,
    metric_title,
    summary_metrics,
)

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "-": "{-}",  # two in a row would become a dash
    "[": "{[}",  # at a row's start they would be read as an option of the line break before
    "]": "{]}",
    "*": "{*}",
}


def escape(text: str) -> str:
    """Text that LaTeX prints as it is; what breaks lines becomes a space."""
    return "".join(_SPECIAL.get(character, character) for character in " ".join(text.split()))


def latex_table(groups: Sequence[Group]) -> str:
    """A ``tabular`` of defense by attack; it needs the packages ``booktabs`` and ``textcomp``."""
    headline = groups[0].headline if groups else headline_metrics()[0].name
    by_names = ranked_by(groups)
    titles = [
        *("Defense", "Attack", "Cases"),
        f"Leakage ({escape(metric_title(headline))})",
        *(f"Top-{top} {by}" for by in by_names for top in TOP),
        *(_with_unit(metric) for metric in summary_metrics()),
        *("Labels", "Attributes", "Accuracy"),
    ]
    lines = [
        "% Needs \\usepackage{booktabs,textcomp}. Intervals are of 95%; rates are in percent.",
        f"\\begin{{tabular}}{{ll{'r' * (len(titles) - 2)}}}",
        "\\toprule",
        " & ".join(titles) + r" \\",
        "\\midrule",
        *(" & ".join(_cells(group, by_names)) + r" \\" for group in groups),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _cells(group: Group, by_names: Sequence[str]) -> list[str]:
    rates = [group.identification(by, top) for by in by_names for top in TOP]
    return [
        escape(group.defense),
        escape(group.attack),
        str(group.entry["cases"]),
        _number(group.leakage, 2),
        *(_number(rate, 0, percent=True) for rate in rates),
        *(_number(group.metric(each.name), each.decimals) for each in summary_metrics()),
        _number(group.label_accuracy, 0, percent=True),
        _number(group.attribute_agreement, 0, percent=True),
        _number(group.utility, 1, percent=True),
    ]


def _with_unit(metric: Metric) -> str:
    title = escape(metric.title)
    return f"{title} [{escape(metric.unit)}]" if metric.unit else title


def _number(estimate: Estimate, digits: int, percent: bool = False) -> str:
    if estimate.value is None:
        return "---"
    scale = 100 if percent else 1
    value = f"${scale * estimate.value:.{digits}f}$"
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} [${scale * estimate.low:.{digits}f}$, ${scale * estimate.high:.{digits}f}$]"
