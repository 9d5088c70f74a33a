"""What a group's numbers say, in plain words and no stronger than they are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ggl_lightning.audit.plan.controls import roles
from ggl_lightning.audit.report.estimates import Estimate, format_number, format_significant
from ggl_lightning.audit.report.groups import Group
from ggl_lightning.audit.results.schema import RANKS, TOP, metric_title
from ggl_lightning.audit.results.schema.columns import NO_RECONSTRUCTION, ONLY_BY_RECONSTRUCTION

_SMALL = 0.01
"""A leakage below which two digits would show as none what may be told from none."""

_DIGITS_OF_SMALL = 4


class Finding(Enum):
    """What is shown about a group; the value is what the report writes."""

    LEAK = "Leak shown"
    NO_LEAK = "No leak shown at this budget"
    UNDECIDED = "Cannot tell"
    NOT_JUDGED = "Not judged"

    @property
    def of_one_attack(self) -> str:
        """What is written of one attack, whose intervals are not adjusted for all the others'."""
        return {
            Finding.LEAK: "Above chance",
            Finding.NO_LEAK: "Not above chance",
        }.get(self, self.value)

    @property
    def css_class(self) -> str:
        """The name of its look."""
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True)
class Verdict:
    """A finding and the sentences that give its grounds."""

    finding: Finding
    sentences: tuple[str, ...]


def judge(group: Group) -> Verdict:
    """Compares the leakage's interval with 0 and each identification interval with chance.

    One interval that lies wholly above is a leak. If none does, no leak is shown, provided that the
    leakage has an interval: without it, nothing can be told. Of an attack that only ranks, the
    identification stands in its place. What an attack does not do is no evidence, nor a gap.
    """
    evidence = [
        *([] if group.leakage.reason == NO_RECONSTRUCTION else [_judge_leakage(group)]),
        *(_judge_identification(group, by) for by in RANKS if _applies(group, by)),
    ]
    findings = [finding for finding, _ in evidence]
    finding = Finding.LEAK if Finding.LEAK in findings else findings[0]
    sentences = [sentence for _, sentence in evidence]
    sentences += _mechanism(group)
    label = group.label_accuracy
    if label.value is not None:
        sentences.append(f"{_percent(label.value)} of the labels were inferred.")
    return Verdict(finding, tuple(dict.fromkeys(sentences)))


def _applies(group: Group, by: str) -> bool:
    """Whether the attack could rank by it at all."""
    reason = group.identification(by, 1).reason
    return reason not in (NO_RECONSTRUCTION, ONLY_BY_RECONSTRUCTION)


def _judge_leakage(group: Group) -> tuple[Finding, str]:
    leakage, metric = group.leakage, metric_title(group.headline)
    if leakage.value is None:
        return Finding.UNDECIDED, f"Leakage by {metric} is not known: {leakage.reason}."
    role = roles().get(group.null or "")
    null = "the strongest null" if role is None else role.title
    widest = max(map(abs, (leakage.value, leakage.low or 0, leakage.high or 0)))
    digits = 2 if widest >= _SMALL else _DIGITS_OF_SMALL
    amount = f"Leakage by {metric} is {leakage.format(digits)}"
    if leakage.low is None or leakage.high is None:
        return Finding.UNDECIDED, f"{amount}, which may be chance: {leakage.reason}."
    amount += f" ({leakage.format_interval(digits)})"
    if leakage.low > 0:
        return Finding.LEAK, f"{amount}: more than the strongest null ({null}) gives."
    if leakage.high < 0:
        return Finding.NO_LEAK, f"{amount}: less than the strongest null ({null}) gives."
    return Finding.NO_LEAK, f"{amount}: not to be told from the strongest null ({null})."


def _judge_identification(group: Group, by: str) -> tuple[Finding, str]:
    """Top-1 first; top-5 is named where it alone is above chance."""
    rates = {top: group.identification(by, top) for top in TOP}
    for top, rate in rates.items():
        chance = group.chance(by, top)
        if chance is not None and rate.low is not None and rate.low > chance:
            return Finding.LEAK, (
                f"{_by(by)} the private image is {_place(by, top)} in {_rate(rate)}, above "
                f"chance ({_percent(chance)})."
            )
    chance = group.chance(by, 1)
    if rates[1].value is None:
        return (
            Finding.UNDECIDED,
            f"Identification {_by(by).lower()} is not known: {rates[1].reason}.",
        )
    if rates[1].low is None or chance is None:
        return (
            Finding.UNDECIDED,
            f"{_by(by)} the private image is {_place(by, 1)} in {_percent(rates[1].value)} of the "
            f" cases, which may be chance: {rates[1].reason or 'chance is not known'}.",
        )
    return Finding.NO_LEAK, (
        f"{_by(by)} the private image is {_place(by, 1)} in {_rate(rates[1])}, not to be told from "
        f" chance ({_percent(chance)})."
    )


def _mechanism(group: Group) -> list[str]:
    """What the noise rules out, whatever the attack: a single sentence, or none."""
    bounds = [group.mechanism_bound(by, 1) for by in RANKS]
    known = [bound for bound in bounds if bound is not None]
    noise = group.noise_multiplier.value
    if not known or noise is None:
        return []
    return [
        f"The noise (multiplier {format_significant(noise)}) lets no attack on one update name the "
        f"private image in more than {_percent(max(known))}."
    ]


def _by(by: str) -> str:
    return "By the update itself" if by == "update" else f"By {by} distance"


def _place(by: str, top: int) -> str:
    best = "likeliest" if by == "update" else "nearest"
    return f"the {best}" if top == 1 else f"one of the {top} {best}"


def _rate(rate: Estimate) -> str:
    value = rate.format(0, percent=True)
    return f"{value} of the cases ({rate.format_interval(0, percent=True)})"


def _percent(share: float) -> str:
    whole = share >= 0.1 or abs(100 * share - round(100 * share)) < 1e-9
    return format_number(share, 0 if whole else 1, percent=True)
