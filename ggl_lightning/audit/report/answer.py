"""The answer in words: which defenses held, what they cost, and what was not tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ggl_lightning.audit.plan.roles import ATTACK
from ggl_lightning.audit.report.groups import Group
from ggl_lightning.audit.report.verdict import Finding, as_sentence
from ggl_lightning.audit.report.worst_case import WorstCase
from ggl_lightning.audit.results.schema import METRICS, Row, is_done
from ggl_lightning.audit.results.values import source_of

_FAMILIES = {
    "the closed form of a first linear layer": {"FirstLinearInversion"},
    "telling by the update itself which of several images it is of": {"UpdateMatching"},
    "a regression learnt from public images": {"LearnedInversion"},
    "a search for images that explain the update, such as generative gradient leakage": {
        "GenerativeGradientLeakage",
        "GradientInversion",
    },
}
"""What the standard attack consists of, in words, and the classes that do it."""


@dataclass(frozen=True)
class Line:
    """One line of the answer.

    Attributes:
        finding: What was found; None where the line is not about defenses.
        head: What the line is about, in a few words.
        items: What is said, each of a defense or, with None, of the whole audit.
    """

    finding: Finding | None
    head: str
    items: tuple[tuple[str | None, str], ...]


def answer(cases: Sequence[WorstCase], groups: Sequence[Group], rows: Sequence[Row]) -> list[Line]:
    """The answer to the question that an audit is run for.

    Args:
        cases: The worst case of each defense.
        groups: The groups, for the classes of defenses and what always naming the commonest class
            scores.
        rows: The rows of all cases, for what was tried.

    Returns:
        Lines in the order of a reader's questions, those of no defense left out; none without
        attacks.
    """
    if not cases:
        return []
    costs = _Costs(cases, groups)
    lines = []
    judged = {case.finding for case in cases} - {Finding.NOT_JUDGED}
    if judged and Finding.NO_LEAK not in judged:
        lines.append(Line(None, "Held", ((None, "None of these defenses."),)))
    for finding, head, say in (
        (Finding.NO_LEAK, "Held against everything that was tried", costs.of),
        (Finding.LEAK, "Leaks", _how),
        (Finding.NOT_JUDGED, "Not judged", _why),
    ):
        chosen = [case for case in cases if case.finding is finding]
        if chosen:
            lines.append(Line(finding, head, tuple((case.defense, say(case)) for case in chosen)))
    return [*lines, *_tried(rows)]


class _Costs:
    """What defenses cost in accuracy, beside no defense."""

    def __init__(self, cases: Sequence[WorstCase], groups: Sequence[Group]) -> None:
        plain = {
            group.defense
            for group in groups
            if str(group.parameters.get("class", "")).endswith(".NoDefense")
        }
        self._plain = next((case.utility.value for case in cases if case.defense in plain), None)
        self._majority: dict[str, float | None] = {
            group.defense: (group.entry.get("utility") or {}).get("majority_share")
            for group in groups
        }

    def of(self, case: WorstCase) -> str:
        """In words."""
        value = case.utility.value
        if value is None:
            return f"What it costs is not known: {case.utility.reason}."
        text = f"A client model trained under it reaches {value:.0%} accuracy"
        if self._plain is not None:
            text += f", without a defense {self._plain:.0%}"
        majority = self._majority.get(case.defense)
        if majority is not None and (case.utility.low or value) <= majority:
            text += f"; always naming the commonest class has {majority:.0%}, so nothing was learnt"
        return f"{text}."


def _how(case: WorstCase) -> str:
    named, auditor = case.identification, case.auditor
    said = []
    if "identification" in case.entry["shown"]:
        others = round(1 / named["chance"]) - 1
        said.append(
            f"{named['attack']} names {named['rate']:.0%} of the private images among {others} "
            f"others each, where chance is {named['chance']:.0%}"
        )
    if "reconstruction" in case.entry["shown"]:
        metric = METRICS[case.metric]
        value, null = (f"{auditor[key]:.{metric.decimals}f}" for key in ("value", "null"))
        unit = f" {metric.unit}" if metric.unit else ""
        said.append(
            f"{auditor['attack']} comes as near as {value}{unit} {metric.title} to them, where its "
            f"best null has {null}"
        )
    text = "; ".join(said)
    return f"{text}."


def _why(case: WorstCase) -> str:
    return as_sentence(str(case.entry.get("reason") or "nothing can be told"))


def _tried(rows: Sequence[Row]) -> list[Line]:
    done = [row for row in rows if row["role"] == ATTACK.name and is_done(row)]
    known = {_class_of(row) for row in done} - {""}
    attacks = dict.fromkeys(str(row["attack"]) for row in done)
    images = len({source_of(row) for row in done})
    noun = "private image" if images == 1 else "private images"
    lines = [Line(None, "Tried", ((None, f"{', '.join(attacks)}, on {images} {noun}."),))]
    if known:
        # Whatever makes up an attack of attacks has rows of its own.
        missing = [words for words, classes in _FAMILIES.items() if not classes & known]
        said = [f"{'; '.join(missing)}.".capitalize()] if missing else []
        said.append("Stronger attacks, larger budgets and other client models may show more.")
        lines.append(Line(None, "Not tried", tuple((None, each) for each in said)))
    return lines


def _class_of(row: Row) -> str:
    details: Mapping[str, object] = row.get("details") or {}
    attack = details.get("attack")
    path = attack.get("class") if isinstance(attack, Mapping) else None
    return str(path or "").rpartition(".")[2]
