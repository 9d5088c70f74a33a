"""The strongest attack against each defense, for the page and the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ggl_lightning.audit.plan.controls import roles
from ggl_lightning.audit.report.estimates import Estimate, format_significant, read_estimate
from ggl_lightning.audit.report.groups import Group
from ggl_lightning.audit.report.html_table import Cell, Heading, Table
from ggl_lightning.audit.report.verdict import Finding, as_sentence
from ggl_lightning.audit.results.schema import METRICS, metric_title

_FINDINGS = {
    "leak": Finding.LEAK,
    "no_leak": Finding.NO_LEAK,
    "not_judged": Finding.NOT_JUDGED,
}
_BY = {"update": "the update itself", "pixel": "pixels", "feature": "features"}


@dataclass(frozen=True)
class WorstCase:
    """A defense's entry of ``worst_case`` in the statistics.

    Attributes:
        entry: The entry.
        utility: The client model's accuracy under the defense.
    """

    entry: Mapping[str, Any]
    utility: Estimate

    @property
    def defense(self) -> str:
        """The defense's name."""
        return str(self.entry["defense"])

    @property
    def metric(self) -> str:
        """The metric by which reconstructions are judged."""
        return str(self.entry["metric"])

    @property
    def finding(self) -> Finding:
        """What is shown."""
        return _FINDINGS[self.entry["verdict"]]

    @property
    def auditor(self) -> Mapping[str, Any]:
        """The maximum over attacks, judged with the truth."""
        return self._of("auditor")

    @property
    def attacker(self) -> Mapping[str, Any]:
        """What an attacker gets who chooses without the truth."""
        return self._of("attacker")

    @property
    def identification(self) -> Mapping[str, Any]:
        """The best identification."""
        found: Mapping[str, Any] = self.entry["identification"]
        return found

    def _of(self, whose: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.entry["metrics"][self.metric][whose]
        return found

    @property
    def sentences(self) -> list[str]:
        """The grounds of the verdict, in words."""
        return [text for text in (self._reconstruction(), self._identified(), self._why()) if text]

    def _reconstruction(self) -> str:
        found = self.auditor
        if "missing" in found:
            return f"Reconstruction: {found['missing']}."
        title, unit = METRICS[self.metric].title, METRICS[self.metric].unit
        unit = f" {unit}" if unit else ""
        role = roles().get(found["null_role"])
        null = "the strongest null" if role is None else role.title
        best = f"{found['attack']} gets closest" if len(found["attacks"]) > 1 else found["attack"]
        own = self.attacker
        text = (
            f"{best}: {title} {_number(found['value'], self.metric)}{unit}"
            f"{_ends(found, self.metric)}, where the best of the same attacks gets "
            f"{_number(found['null'], self.metric)} from {null}"
        )
        if "missing" not in own and len(found["attacks"]) > 1:
            text += f", and an attacker's own choice {_number(own['value'], self.metric)}"
        return f"{text}."

    def _identified(self) -> str:
        found = self.identification
        if "missing" in found:
            return ""
        tried = f", the best of {found['tried']} rankings" if found["tried"] > 1 else ""
        return (
            f"{found['attack']} names the private image by {_BY[found['by']]} in "
            f"{found['rate']:.0%} of {found['count']}{tried} "
            f"({found['low']:.0%} to {found['high']:.0%}; chance {found['chance']:.1%})."
        )

    def _why(self) -> str:
        if self.finding is Finding.NOT_JUDGED:
            return as_sentence(str(self.entry["reason"]))
        return ""


def read_worst_cases(
    statistics: Mapping[str, Any], groups: Sequence[Group], defenses: Sequence[str]
) -> list[WorstCase]:
    """The entries in the report's order.

    Args:
        statistics: What `compute_statistics` gives.
        groups: The groups, for what defenses cost.
        defenses: Names of the defenses in order.
    """
    utility = {group.defense: group.utility for group in groups}
    entries = sorted(
        statistics.get("worst_case") or [], key=lambda entry: defenses.index(entry["defense"])
    )
    return [WorstCase(entry, utility[entry["defense"]]) for entry in entries]


def worst_case_groups(cases: Sequence[WorstCase], groups: Sequence[Group]) -> list[Group]:
    """The worst cases as groups of an attack of their own, for figures.

    Args:
        cases: The worst cases.
        groups: The groups, for utility and parameters of the defenses.
    """
    first = {group.defense: group for group in reversed(groups)}
    found = []
    for case in cases:
        of_defense = first[case.defense].entry
        auditor = case.auditor
        leakage = {"missing": auditor.get("missing") or "the bound does not beat the null"}
        if auditor.get("leakage") is not None:
            leakage = {
                "value": auditor["leakage"],
                "low": auditor.get("leakage_low"),
                "high": auditor.get("leakage_high"),
                "count": auditor["count"],
            }
        entry = {
            "defense": case.defense,
            "attack": WORST_CASE,
            "leakage": {case.metric: leakage},
            "utility": of_defense.get("utility"),
            "defense_parameters": of_defense.get("defense_parameters"),
        }
        found.append(Group(entry, case.metric))
    return found


WORST_CASE = "worst case"
"""What figures call it beside attacks."""


def worst_case_table(cases: Sequence[WorstCase]) -> Table:
    """A defense in a line: what the strongest attack makes of it, and what it costs."""
    title = metric_title(cases[0].metric) if cases else ""
    table = Table(
        "worst-case",
        "Worst case over attacks, with 95% intervals",
        [
            Heading("Defense", numeric=False),
            Heading("Verdict", numeric=False),
            Heading("Strongest attack", numeric=False),
            Heading(f"Worst {title}"),
            Heading(f"Strongest null's {title}"),
            Heading(f"Bound's {title}"),
            Heading(f"Attacker's own {title}"),
            Heading("Named, best ranking"),
            Heading("p-value"),
            Heading("Utility accuracy"),
        ],
    )
    for case in cases:
        auditor, named = case.auditor, case.identification
        digits = METRICS[case.metric].decimals
        attack = auditor.get("attack")
        strongest = (
            Cell("—", note=table.note(auditor["missing"]))
            if attack is None
            else Cell(attack, attack=attack)
        )
        table.rows.append(
            [
                Cell(case.defense, defense=case.defense),
                Cell(case.finding.value, css_class=f"finding {case.finding.css_class}"),
                strongest,
                table.number(_estimate(auditor), digits),
                table.number(_alone(auditor, "null"), digits),
                table.number(_alone(auditor, "bound"), digits),
                table.number(_estimate(case.attacker), digits),
                table.number(read_estimate(named, "rate", "no ranking"), 0, percent=True),
                _p_value(case),
                table.number(case.utility, 1, percent=True),
            ]
        )
    return table


def _estimate(found: Mapping[str, Any]) -> Estimate:
    return read_estimate(found, "value", "it was not computed")


def _alone(found: Mapping[str, Any], name: str) -> Estimate:
    """A number without an interval, which nobody asks for."""
    if found.get(name) is None:
        return Estimate(reason=found.get("missing") or f"no {name} was run for all images")
    return Estimate(found[name])


def _p_value(case: WorstCase) -> Cell:
    p_value = case.entry["p_value"]
    if p_value is None:
        return Cell("—")
    return Cell(format_significant(p_value, 2), sort=p_value)


def worst_case_lines(statistics: Mapping[str, Any]) -> list[str]:
    """The same for the screen, a few lines a defense; none without attacks.

    Args:
        statistics: What `compute_statistics` gives.
    """
    lines = []
    for entry in statistics.get("worst_case") or []:
        case = WorstCase(entry, Estimate(reason="not asked for"))
        lines.append(f"{case.defense}: {case.finding.value}. {' '.join(case.sentences)}")
    return ["", "Worst case over attacks", *lines] if lines else []


def _number(value: float, metric: str) -> str:
    return f"{value:.{METRICS[metric].decimals}f}"


def _ends(found: Mapping[str, Any], metric: str) -> str:
    if found.get("low") is None:
        return ""
    return f" ({_number(found['low'], metric)} to {_number(found['high'], metric)})"
