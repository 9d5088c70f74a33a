"""Generative gradient leakage that begins at what a regression has learnt to see in an update."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ggl_lightning.attacks.attack import GenerativeGradientLeakage
from ggl_lightning.attacks.base import UNWATCHED, Attack, Finding, Progress, Target
from ggl_lightning.attacks.explained import unexplained_shares
from ggl_lightning.attacks.learned import LearnedInversion
from ggl_lightning.attacks.matching.micro_batching import MicroBatching
from ggl_lightning.attacks.matching.update_distances import Distance, UpdateDistances
from ggl_lightning.attacks.objective import Objective
from ggl_lightning.attacks.penalties.proximity import Proximity
from ggl_lightning.attacks.penalties.weighted import WeightedPenalties
from ggl_lightning.attacks.received import Received
from ggl_lightning.attacks.searches import AdamSearch, Search
from ggl_lightning.attacks.searching import SearchingAttack
from ggl_lightning.attacks.spaces import LatentSpace, Reached, SearchSpace
from ggl_lightning.attacks.spaces.choice import SpaceChoice
from ggl_lightning.clients.procedures import ClientProcedure
from ggl_lightning.errors import check_positive
from ggl_lightning.identity import module_hash

_PROXIMITIES = (0.3, 3.0)
"""Weights that are tried: of the squared distance from the regression's answer, relative to what it
expects of itself, beside the unexplained share, relative to the projection's."""

_LEAST_SHARE = 1e-12

_VERSION = 1
"""Of the rehearsals, in the key they are kept under."""


class WarmStartedGGL(Attack):
    """Learned inversion, its projection into the prior's range, and a search from there.

    Three answers to an update:

    * ``regression``: what `LearnedInversion` makes of it, ``x``.
    * ``projection``: what of the prior's images is nearest to it, by Adam on ``||G(z) - x||^2``.
    * ``search``: Adam from that latent on the share of the update that is left unexplained, plus a
      weight times ``||G(z) - x||^2``, each relative to what the start has.

    Which is best, and with what weight, is found out on public images: each is taken for a private
    one, with its own update, degraded as the received one is believed to be, and with what the
    regression on all *other* public images makes of that. Only the answer with the lowest error
    there is made; another than the regression's must be better by more than a standard error. What
    it expects of itself is the regression's expected error times the ratio of these errors.

    A prior that has seen the public images in its training draws them better than others, which
    favours its two answers a little.

    Args:
        learned: The regression, with what all of it shares: public images, adaptiveness, labels.
        budget: Steps of the search.
        lr: Their learning rate, ramped as in `AdamSearch`.
        projection_steps: Steps of the projection.
        rehearsals: Public images that answers are compared on.

    Raises:
        UserError: If a number is not positive.
    """

    def __init__(
        self,
        learned: LearnedInversion | None = None,
        budget: int = 40,
        lr: float = 0.03,
        projection_steps: int = 80,
        rehearsals: int = 4,
    ) -> None:
        check_positive("budget", budget)
        check_positive("lr", lr)
        check_positive("projection_steps", projection_steps)
        check_positive("rehearsals", rehearsals)
        self.learned = LearnedInversion() if learned is None else learned
        self.budget = budget
        self.lr = lr
        self.projection_steps = projection_steps
        self.rehearsals = rehearsals
        self.known_label = self.learned.known_label
        self.believes = self.learned.believes

    def problems(self, target: Target, count: int, procedure: ClientProcedure) -> list[str]:
        """See `Attack.problems`: no prior, and what stands in the regression's way."""
        found = super().problems(target, count, procedure)
        found += [p for p in self.learned.problems(target, count, procedure) if p not in found]
        return found

    def run(
        self, received: Received, target: Target, seed: int, progress: Progress = UNWATCHED
    ) -> Finding:
        """See `Attack.run`; what is told of while it runs is the search.

        Raises:
            UserError: If the attack does not fit the client model, the update or the prior.
            NonFiniteLossError: If the objective becomes NaN or infinite.
        """
        started = time.perf_counter()
        learned = self.learned.run(received, target, seed)
        assert learned.images is not None
        assert learned.predicted_mse is not None
        if not learned.evaluation["tensors"]:  # an update of zeros: there is nothing to explain
            return replace(learned, evaluation={**learned.evaluation, "chosen": "regression"})
        rehearsed = self._rehearsed(received, target, learned, seed)
        name = rehearsed.best
        expected = {way: ratio * learned.predicted_mse for way, ratio in rehearsed.ratios.items()}
        evaluation = {**learned.evaluation, "chosen": name, "expected_mse": expected}
        found = learned
        if name != "regression":
            assumed = replace(received, labels=learned.labels)
            begun = self._projected(learned.images, target, learned.labels, seed)
            found = begun
            if name != "projection":
                weight = rehearsed.weights[name]
                near = _Near(learned.images, learned.predicted_mse, weight)
                share = _unexplained(assumed, target, begun)
                search = _SearchFromThere(self, begun, near, share)
                found = search.run(assumed, target, seed, progress)
                evaluation["proximity"] = weight
        return replace(
            found,
            inferred=learned.inferred,
            estimate=learned.estimate,
            seconds=time.perf_counter() - started,
            evaluation=evaluation,
            predicted_mse=expected[name],
            artefacts={**found.artefacts, "regression": learned.images},
        )

    @property
    def needs_prior(self) -> bool:
        """It projects into the range of one."""
        return True

    @property
    def needs_public(self) -> int:
        """See `Attack.needs_public`."""
        return self.learned.needs_public

    @property
    def evaluations(self) -> int:
        """At most: those of the search."""
        return self.budget + 1

    @property
    def cost(self) -> float:
        """At most, with a share of the fit."""
        return self.learned.cost + AdamSearch().cost(self.budget)

    def sample(self) -> tuple[Attack, float]:
        """See `Attack.sample`: of the regression, whose fit takes the most."""
        return self.learned.sample()

    def _rehearsed(
        self, received: Received, target: Target, learned: Finding, seed: int
    ) -> _Rehearsed:
        """Squared errors of all answers on public images, made once for all updates alike."""
        noise, scale = (float(learned.evaluation[key]) for key in ("noise", "scale"))  # type: ignore[arg-type]
        # Public images' updates have not been scaled as the received one may have been.
        noise = noise / scale if noise > 0 else 0.0
        fitted, make = self.learned.rehearsed(received, target, noise, self.rehearsals)
        key = {
            **fitted,
            "part": "rehearsal of a warm start",
            "rehearsal_version": _VERSION,
            "noise": _octave(noise),
            "prior": module_hash(target.required_prior),
            "settings": [self.budget, self.lr, self.projection_steps, self.rehearsals],
        }

        def errors() -> Mapping[str, Tensor]:
            found: dict[str, list[float]] = {}
            for each in make():
                own = {"regression": each.predicted.clamp(-1, 1).unsqueeze(0)}
                expected = float((own["regression"] - each.image).square().mean())
                labels = each.received.labels
                assert labels is not None
                begun = self._projected(own["regression"], target, labels, seed)
                assert begun.images is not None
                own["projection"] = begun.images
                share = _unexplained(each.received, target, begun)
                for weight in _PROXIMITIES:
                    near = _Near(own["regression"], expected, weight)
                    search = _SearchFromThere(self, begun, near, share)
                    images = search.run(each.received, target, seed).images
                    assert images is not None
                    own[_search_name(weight)] = images
                for way, images in own.items():
                    error = float((images - each.image).double().square().mean())
                    found.setdefault(way, []).append(error)
            return {way: torch.tensor(each, dtype=torch.float64) for way, each in found.items()}

        return _Rehearsed(target.fits.get(key, errors))

    def _projected(self, images: Tensor, target: Target, labels: Tensor, seed: int) -> Finding:
        """The nearest images of the prior, with their latents."""
        adam = AdamSearch(lr=0.1, restarts=2)
        projection = GenerativeGradientLeakage(adam, budget=self.projection_steps)
        return projection.invert(images.to(target.device), labels, target, seed)


@dataclass(frozen=True)
class _Near:
    """What a search keeps near to.

    Attributes:
        images: ``(1, 3, H, W)``.
        mse: The squared error per pixel that is expected of them.
        weight: Of the distance from them, relative to that.
    """

    images: Tensor
    mse: float
    weight: float


class _Rehearsed:
    """How the answers compare on public images.

    Args:
        errors: Squared errors per pixel by the answers' names, ``(K,)`` each.
    """

    def __init__(self, errors: Mapping[str, Tensor]) -> None:
        base = errors["regression"]
        self.ratios = {way: float(each.mean() / base.mean()) for way, each in errors.items()}
        self.weights = {_search_name(weight): weight for weight in _PROXIMITIES}
        self.best = "regression"
        for way, each in errors.items():
            gains = base - each
            doubt = float(gains.std()) / len(gains) ** 0.5 if len(gains) > 1 else float("inf")
            is_better = float(gains.mean()) > doubt
            if is_better and self.ratios[way] < self.ratios[self.best]:
                self.best = way


class _FromLatent(LatentSpace):
    """A prior's latents, in which descents begin at a given one."""

    def __init__(self, target: Target, latent: Tensor) -> None:
        super().__init__(target.required_prior)
        self._begin = latent

    def start(self, n: int, count: int, generator: torch.Generator) -> Tensor:
        """See `SearchSpace.start`: the latent, for all points."""
        return self._begin.expand(n, *self._begin.shape).clone()


class _FromThere(SpaceChoice):
    needs_prior = True
    normal_start = True

    def __init__(self, latent: Tensor) -> None:
        self._latent = latent

    def space(self, target: Target, stage: int, reached: Reached | None) -> SearchSpace:
        return _FromLatent(target, self._latent)


class _SearchFromThere(SearchingAttack):
    """Adam from the projection's latent, near the regression's answer.

    Args:
        whole: The attack that it belongs to.
        begun: The projection.
        near: The regression's answer.
        share: Of the update, that the projection leaves unexplained.
    """

    def __init__(self, whole: WarmStartedGGL, begun: Finding, near: _Near, share: float) -> None:
        super().__init__(
            AdamSearch(lr=whole.lr),
            whole.budget,
            n_trials=1,
            adaptive=whole.learned.adaptive,
            known_label=True,  # those that the regression assumed
            distance=Distance.l2,
            use_weight=False,
            believes=whole.believes,
            orders=1,
            buffer_weight=0.0,
            evaluation=MicroBatching(),
        )
        self._latent, self._near, self._share = begun.artefacts["latent"], near, share

    @property
    def _spaces(self) -> SpaceChoice:
        return _FromThere(self._latent)

    def _search_of(self, stage: int) -> tuple[Search, int]:
        return self.search, self.budget

    def _objective(
        self,
        received: Received,
        space: SearchSpace,
        labels: Tensor,
        distances: UpdateDistances,
        model: nn.Module,
    ) -> Objective:
        whole = sum(float(each.double().square().sum()) for each in received.update)
        count = len(received.update)
        near = Proximity(self._near.weight / self._near.mse, self._near.images)
        return Objective(
            space,
            distances,
            labels,
            weights=torch.full((count,), count / (whole * self._share)),
            penalties=WeightedPenalties([near], model),
        )


def _unexplained(received: Received, target: Target, begun: Finding) -> float:
    """The share of an update that the projection leaves unexplained, above 0."""
    assert begun.images is not None
    shares = unexplained_shares(received, target, begun.images.unsqueeze(0), begun.labels)
    return max(float(shares[0]), _LEAST_SHARE)


def _search_name(weight: float) -> str:
    return f"search, proximity {weight:g}"


def _octave(noise: float) -> int | None:
    """The noise's power of 2, to which rehearsals are alike."""
    return None if noise == 0 else round(torch.tensor(noise).log2().item())
