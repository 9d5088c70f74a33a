"""What a group's numbers say, in plain words and no stronger than they are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ggl_lightning.audit.plan.controls import roles
from ggl_lightning.audit.report.estimates import Estimate, format_number, format_significant
from ggl_lightning.audit.report.groups import Group
from ggl_lightning.audit.results.schema import RANKS, TOP, metric_title
from ggl_lightning.audit.results.schema.columns import NO_RECONSTRUCTION, ONLY_BY_RECONSTRUCTION
from ggl_lightning.audit.statistics.enough import too_few

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


def as_sentence(reason: str) -> str:
    """A reason, which begins in lower case and has no stop, as a sentence."""
    return f"{reason[:1].upper()}{reason[1:]}."


def judge(group: Group) -> Verdict:
    """Compares the leakage's interval with 0 and each identification interval with chance.

    One interval that lies wholly above is a leak. If none does, no leak is shown, provided that the
    leakage has an interval: without it, nothing can be told. Numbers of too few images (`too_few`)
    are given and not judged. Of an attack that only ranks, the identification stands in its place.
    What an attack does not do is no evidence, nor a gap.
    """
    evidence: list[tuple[Finding, tuple[str, ...]]] = [
        *([] if group.leakage.reason == NO_RECONSTRUCTION else [_judge_leakage(group)]),
        *(_judge_identification(group, by) for by in RANKS if _applies(group, by)),
    ]
    findings = [finding for finding, _ in evidence]
    finding = Finding.LEAK if Finding.LEAK in findings else findings[0]
    if finding is Finding.UNDECIDED and Finding.NOT_JUDGED in findings:
        finding = Finding.NOT_JUDGED
    sentences = [sentence for _, said in evidence for sentence in said]
    sentences += _mechanism(group)
    label = group.label_accuracy
    if label.value is not None:
        sentences.append(f"{_percent(label.value)} of the labels were inferred.")
    return Verdict(finding, tuple(dict.fromkeys(sentences)))


def _applies(group: Group, by: str) -> bool:
    """Whether the attack could rank by it at all."""
    reason = group.identification(by, 1).reason
    return reason not in (NO_RECONSTRUCTION, ONLY_BY_RECONSTRUCTION)


def _judge_leakage(group: Group) -> tuple[Finding, tuple[str, ...]]:
    leakage, metric = group.leakage, metric_title(group.headline)
    if leakage.value is None:
        return Finding.UNDECIDED, (f"Leakage by {metric} is not known: {leakage.reason}.",)
    role = roles().get(group.null or "")
    null = "the strongest null" if role is None else role.title
    widest = max(map(abs, (leakage.value, leakage.low or 0, leakage.high or 0)))
    digits = 2 if widest >= _SMALL else _DIGITS_OF_SMALL
    amount = f"Leakage by {metric} is {leakage.format(digits)}"
    between = f"{amount} ({leakage.format_interval(digits)})" if leakage.has_interval else amount
    if few := too_few(leakage.count or 0):
        return Finding.NOT_JUDGED, (f"{between}.", as_sentence(few))
    if leakage.low is None or leakage.high is None:
        return Finding.UNDECIDED, (f"{amount}, which may be chance: {leakage.reason}.",)
    if leakage.low > 0:
        return Finding.LEAK, (f"{between}: more than the strongest null ({null}) gives.",)
    if leakage.high < 0:
        return Finding.NO_LEAK, (f"{between}: less than the strongest null ({null}) gives.",)
    return Finding.NO_LEAK, (f"{between}: not to be told from the strongest null ({null}).",)


def _judge_identification(group: Group, by: str) -> tuple[Finding, tuple[str, ...]]:
    """Top-1 first; top-5 is named where it alone is above chance."""
    rates = {top: group.identification(by, top) for top in TOP}
    first, chance = rates[1], group.chance(by, 1)
    if first.value is None:
        return (
            Finding.UNDECIDED,
            (f"Identification {_by(by).lower()} is not known: {first.reason}.",),
        )
    if few := too_few(first.count or 0):
        return Finding.NOT_JUDGED, (f"{_named(by, 1)} {_rate(first)}.", as_sentence(few))
    for top, rate in rates.items():
        level = group.chance(by, top)
        if level is not None and rate.low is not None and rate.low > level:
            return Finding.LEAK, (
                f"{_named(by, top)} {_rate(rate)}, above chance ({_percent(level)}).",
            )
    if first.low is None or chance is None:
        reason = first.reason or "chance is not known"
        return (
            Finding.UNDECIDED,
            (
                f"{_named(by, 1)} {_percent(first.value)} of the cases, which may be chance: "
                f"{reason}.",
            ),
        )
    return Finding.NO_LEAK, (
        f"{_named(by, 1)} {_rate(first)}, not to be told from chance ({_percent(chance)}).",
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


def _named(by: str, top: int) -> str:
    """How a sentence on a rate begins."""
    best = "likeliest" if by == "update" else "nearest"
    place = f"the {best}" if top == 1 else f"one of the {top} {best}"
    return f"{_by(by)} the private image is {place} in"


def _rate(rate: Estimate) -> str:
    value = rate.format(0, percent=True)
    return f"{value} of the cases ({rate.format_interval(0, percent=True)})"


def _percent(share: float) -> str:
    whole = share >= 0.1 or abs(100 * share - round(100 * share)) < 1e-9
    return format_number(share, 0 if whole else 1, percent=True)
