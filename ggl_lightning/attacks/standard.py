"""The standard attack: a fixed list of attacks under one name, so that audits can be compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from ggl_lightning.attacks.analytic import FirstLinearInversion
from ggl_lightning.attacks.attack import GenerativeGradientLeakage
from ggl_lightning.attacks.base import UNWATCHED, Attack, Finding, Progress, Target
from ggl_lightning.attacks.explained import unexplained_shares
from ggl_lightning.attacks.learned import LearnedInversion
from ggl_lightning.attacks.received import Received
from ggl_lightning.attacks.searches import NevergradSearch
from ggl_lightning.attacks.update_matching import UpdateMatching
from ggl_lightning.attacks.warm_start import WarmStartedGGL
from ggl_lightning.clients.procedures import ClientProcedure
from ggl_lightning.errors import UserError

VERSION = 2
"""Of the list and of how its members are chosen: results of different versions are not compared."""

BUDGET = 500
"""Rounds of the search: the published number (Li et al. 2022)."""

_EXACT = 1e-4
"""Share of a received update that may be left unexplained by an answer that is taken for exact."""

_WORTH = 0.5
"""The search is run only if the learned answers are expected to have more than this share of the
mean public image's squared error. With less, 3 dB above the mean image, the verdict is beyond
doubt, and where the prior holds the image, ``warm`` has found it."""

_CLEARLY = 0.25
"""Unexplained share of a search's answer, relative to the learned one's, below which the search has
seen what the regression could not."""


@dataclass(frozen=True)
class _Member:
    attack: Attack
    is_worth: Callable[[Mapping[str, Finding]], str | None]


class StandardAttack(Attack):
    """A fixed list of attacks, cheap ones first, and one answer that is chosen without the truth.

    Members, each as it is by default:

    1. ``linear``: `FirstLinearInversion`. An answer that explains the received update to rounding
       is exact, unless the defense maps many updates to one, and nothing more is run but the
       ranking.
    2. ``matching``: `UpdateMatching`, which ranks lineups and makes no image.
    3. ``learned``: `LearnedInversion`.
    4. ``warm``: `WarmStartedGGL` from there, where public images say that it comes nearer.
    5. ``ggl``: `GenerativeGradientLeakage` by CMA-ES with the published budget, 500 rounds of 50,
       adaptive; only if the learned answers are expected to have more than half of the mean public
       image's squared error, or there are none.

    Those that do not fit the client model, procedure or batch are left out, as ``warm`` and ``ggl``
    are without a prior, and the result says why. The answer: one that is exact; else the one of the
    lowest expected error (`Finding.predicted_mse`). ``ggl`` expects nothing of itself. Its answer
    ``z`` takes the place of the learned one ``x`` only if it leaves less than a quarter as much of
    the update unexplained (`unexplained_shares`), which no blurred image can, and is nearer: where
    the errors of both are independent, ``||z - x||^2`` is the sum of their squared errors, and that
    of ``x`` is known. Without an expectation the least unexplained share decides.

    Args:
        budget: Rounds of the search; another number than 500 is for trying things out, and is told
            with the results.

    Attributes:
        version: Of the list. Results of different versions cannot be in one report.

    Raises:
        UserError: If ``budget`` is not positive.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self.budget = budget
        self.version = VERSION
        search = GenerativeGradientLeakage(NevergradSearch(), budget=budget, adaptive=True)
        learned = LearnedInversion()
        self._members = {
            "linear": _Member(FirstLinearInversion(), lambda found: None),
            "matching": _Member(UpdateMatching(), lambda found: None),
            "learned": _Member(learned, _unless_exact),
            "warm": _Member(WarmStartedGGL(learned), _unless_exact),
            "ggl": _Member(search, _unless_well_explained),
        }

    @property
    def members(self) -> dict[str, Attack]:
        """See `Attack.members`: the list."""
        return {name: member.attack for name, member in self._members.items()}

    @property
    def needs_public(self) -> int:
        """See `Attack.needs_public`."""
        return max(attack.needs_public for attack in self.members.values())

    def problems(self, target: Target, count: int, procedure: ClientProcedure) -> list[str]:
        """See `Attack.problems`: something only if no member makes images."""
        found = {
            name: wrong
            for name, attack in self.members.items()
            if (wrong := attack.problems(target, count, procedure))
        }
        making = self.members.keys() - {"matching"}
        if found.keys() >= making:
            found.pop("warm")  # whose are those of learned and ggl
            return list(dict.fromkeys(problem for wrong in found.values() for problem in wrong))
        return []

    def run(
        self, received: Received, target: Target, seed: int, progress: Progress = UNWATCHED
    ) -> Finding:
        """See `Attack.run`; member ``k`` is seeded from ``(seed, k)``.

        What is told of while it runs, and kept when it is interrupted, is the search; the others
        are made anew, from fits that are kept.

        Raises:
            UserError: If no member fits.
        """
        problems = self.problems(target, received.count, received.procedure)
        if problems:
            raise UserError(*problems)
        found: dict[str, Finding] = {}
        left_out: dict[str, str] = {}
        for place, (name, member) in enumerate(self._members.items()):
            wrong = member.attack.problems(target, received.count, received.procedure)
            reason = wrong[0] if wrong else member.is_worth(found)
            if reason is not None:
                left_out[name] = reason
                continue
            own_seed = int(np.random.SeedSequence([seed, place]).generate_state(1)[0])
            searches = isinstance(member.attack, GenerativeGradientLeakage)
            watched = progress if searches else UNWATCHED
            finding = member.attack.run(received, target, own_seed, watched)
            found[name] = _with_share(finding, received, target)
        return self._answer(found, left_out)

    def rank(
        self, received: Received, finding: Finding, lineup: Tensor, target: Target
    ) -> Tensor | None:
        """See `Attack.rank`: by update matching."""
        matched = finding.members.get("matching")
        if matched is None:
            return None
        return self.members["matching"].rank(received, matched, lineup, target)

    @property
    def evaluations(self) -> int:
        """At most: those of the search."""
        return sum(attack.evaluations for attack in self.members.values())

    @property
    def cost(self) -> float:
        """At most."""
        return sum(attack.cost for attack in self.members.values())

    def sample(self) -> tuple[Attack, float]:
        """See `Attack.sample`: of the search, which takes the most."""
        return self.members["ggl"].sample()

    def _answer(self, found: Mapping[str, Finding], left_out: Mapping[str, str]) -> Finding:
        name = chosen(found)
        best = found[name]
        search = found.get("ggl")
        return replace(
            best,
            inferred=next((each.inferred for each in found.values() if each.inferred), None),
            loss=None,
            trial=None if search is None else search.trial,
            trial_losses=() if search is None else search.trial_losses,
            rounds=sum(each.rounds for each in found.values()),
            evaluations=sum(each.evaluations for each in found.values()),
            seconds=sum(each.seconds for each in found.values()),
            histories=() if search is None else search.histories,
            stop_reasons=() if search is None else search.stop_reasons,
            evaluation={
                "way": f"standard, version {self.version}",
                "chosen": name,
                "left_out": dict(left_out),
                "unexplained": {
                    each: finding.evaluation["unexplained"]
                    for each, finding in found.items()
                    if "unexplained" in finding.evaluation
                },
            },
            members=dict(found),
        )


def chosen(found: Mapping[str, Finding]) -> str:
    """The name of the answer that an attacker takes; see `StandardAttack`.

    Args:
        found: Findings by name, with their unexplained shares; at least one with images.
    """
    shares = {
        name: float(finding.evaluation["unexplained"])  # type: ignore[arg-type]
        for name, finding in found.items()
        if finding.images is not None
    }
    by_share = min(shares, key=lambda name: shares[name])
    expected = {
        name: each.predicted_mse
        for name, each in found.items()
        if name in shares and each.predicted_mse is not None
    }
    if found[by_share].evaluation.get("exact") or not expected:
        return by_share
    best = min(expected, key=lambda name: expected[name])
    error, image = expected[best], found[best].images
    assert image is not None
    for name in shares.keys() - expected.keys():
        other = found[name].images
        assert other is not None
        apart = float((other.double() - image.double()).square().mean())
        if shares[name] < _CLEARLY * shares[best] and apart - error < error:
            return name
    return best


def _with_share(finding: Finding, received: Received, target: Target) -> Finding:
    if finding.images is None:
        return finding
    candidates = finding.images.unsqueeze(0)
    share = float(unexplained_shares(received, target, candidates, finding.labels)[0])
    adaptation = received.defense.adapt(received.update, target.classifier)
    # Many images may have the same signs or levels: there it proves nothing to explain them.
    is_proof = adaptation is None or adaptation.only_scales
    explained = {"unexplained": share, "exact": is_proof and share <= _EXACT}
    return replace(finding, evaluation={**finding.evaluation, **explained})


def _unless_exact(found: Mapping[str, Finding]) -> str | None:
    linear = found.get("linear")
    if linear is None or not linear.evaluation["exact"]:
        return None
    return "the first linear layer gave the images away exactly"


def _unless_well_explained(found: Mapping[str, Finding]) -> str | None:
    exact = _unless_exact(found)
    learned = found.get("learned")
    if exact is not None or learned is None:
        return exact
    usual = float(learned.evaluation["mean_image_mse"])  # type: ignore[arg-type]
    expected = [
        each.predicted_mse
        for name in ("learned", "warm")
        if (each := found.get(name)) is not None and each.predicted_mse is not None
    ]
    if min(expected) > _WORTH * usual:
        return None
    return (
        f"the learned answer is expected to have {min(expected) / usual:.0%} of the mean public "
        f"image's squared error, and a search is run above {_WORTH:.0%} only"
    )
