"""Gradient inversion: the published attacks, as settings of one."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from ggl_lightning.attacks.base import UNWATCHED, Finding, Progress, Target
from ggl_lightning.attacks.matching.distance import WholeDistance
from ggl_lightning.attacks.matching.micro_batching import MicroBatch, MicroBatching
from ggl_lightning.attacks.matching.update_distances import Distance, UpdateDistances
from ggl_lightning.attacks.objective import Objective
from ggl_lightning.attacks.penalties import Penalty, WeightedPenalties
from ggl_lightning.attacks.received import Received
from ggl_lightning.attacks.searches import Search
from ggl_lightning.attacks.searching import SearchingAttack
from ggl_lightning.attacks.spaces import SearchSpace, SpaceChoice
from ggl_lightning.clients.procedures import ClientProcedure
from ggl_lightning.errors import UserError, check_positive

DistanceName = Literal["l2", "l1", "cosine", "whole_cosine"]


class GradientInversion(SearchingAttack):
    """Searches a space of images for those that explain an update and are likely.

    The objective is the sum over the parameter tensors of the distances between a candidate's
    update and the received one, or one distance between the updates as a whole, plus penalties on
    the candidate's images. Deep leakage from gradients, inverting gradients, GradInversion, GIAS,
    GIFD and ROG are settings of it (``configs/audit/attacks/``).

    Its public attributes are its parameters: they identify it in results.

    Args:
        space: What is searched; several stages one after the other if it says so.
        search: What proposes the candidates of the first stage. One that descends is needed in any
            space but the prior's latents.
        budget: What it may spend: rounds, or what the search says.
        distance: What is measured: ``l2``, ``l1`` or ``cosine`` between two tensors of two updates
            (`Distance`), or ``whole_cosine`` between the updates (`WholeDistance`).
        penalties: What is added to it.
        use_weight: Weights of the parameter tensors: false for none, true for the published ones
            of a ResNet-18, or a list; not with the distance ``whole_cosine``.
        later_search: What proposes the candidates of later stages; null for ``search``.
        later_budget: What each of these may spend; null for ``budget``.
        n_trials: Independent trials; the one with the lowest objective wins.
        adaptive: Whether the attacker knows which defense was used and applies its estimate of it
            to every candidate's update.
        known_label: Whether the attacker is told the private labels instead of inferring them.
        max_memory_mb: Bound on the memory for candidates that are evaluated together, in units of
            2^20 bytes; null for 1024 on the CPU and half of an accelerator's memory.
        micro_batch: How many candidates are evaluated together: a number, ``auto`` for what fits
            the bound, or ``measure`` for the fastest that does; see `MicroBatching`.
        believes: What the attacker believes that the client did; null if it knows the client's
            procedure. The order in which the client took its images it never knows.
        orders: How many orders it draws and takes the mean objective over, where the order matters.
        buffer_weight: Weight of the distance between the batch statistics of a candidate and those
            that sent buffers give away; 0 leaves them out.

    Raises:
        UserError: If a number is out of range, or settings do not go together.
    """

    def __init__(
        self,
        space: SpaceChoice,
        search: Search,
        budget: int = 1000,
        distance: DistanceName = "l2",
        penalties: list[Penalty] = [],  # noqa: B006 - never changed
        use_weight: bool | list[float] = False,
        later_search: Search | None = None,
        later_budget: int | None = None,
        n_trials: int = 1,
        adaptive: bool = False,
        known_label: bool = False,
        max_memory_mb: float | None = None,
        micro_batch: MicroBatch = "auto",
        believes: ClientProcedure | None = None,
        orders: int = 1,
        buffer_weight: float = 0.1,
    ) -> None:
        super().__init__(
            search,
            budget,
            n_trials,
            adaptive,
            known_label,
            WholeDistance(distance) if distance == "whole_cosine" else Distance(distance),
            use_weight,
            believes,
            orders,
            buffer_weight,
            MicroBatching(max_memory_mb, micro_batch),
        )
        if later_budget is not None:
            check_positive("later_budget", later_budget)
        if distance == "whole_cosine" and use_weight is not False:
            raise UserError(
                "use_weight weighs parameter tensors, but the distance whole_cosine is one of the "
                "updates as a whole: set use_weight to false, or the distance to cosine."
            )
        self.space = space
        self.penalties = penalties
        self.later_search = later_search
        self.later_budget = later_budget

    def problems(self, target: Target, count: int, procedure: ClientProcedure) -> list[str]:
        """See `Attack.problems`: penalties that do not fit, searches that do not descend."""
        found = self._undirected()
        if not found:
            found = super().problems(target, count, procedure)
        loss = getattr(self.believed(procedure), "loss", None)
        if self.space.searches_labels and loss is not None:
            found.append(
                f"{type(self.space).__name__} searches probabilities of labels, which the client's "
                f"cross-entropy takes, but its loss is {type(loss).__name__}: search "
                "Pixels, with labels read off the update."
            )
        for penalty in self.penalties:
            for stage in range(self.space.stages):
                search, _ = self._search_of(stage)
                population = getattr(search, "restarts", 1)
                told = penalty.problems(target, population)
                found += [problem for problem in told if problem not in found]
        return found

    def run(
        self, received: Received, target: Target, seed: int, progress: Progress = UNWATCHED
    ) -> Finding:
        """See `Attack.run`; reconstructions are brought into ``[-1, 1]``."""
        return _in_range(super().run(received, target, seed, progress))

    def invert(
        self,
        images: Tensor,
        labels: Tensor,
        target: Target,
        seed: int,
        progress: Progress = UNWATCHED,
    ) -> Finding:
        """See `SearchingAttack.invert`; likewise."""
        return _in_range(super().invert(images, labels, target, seed, progress))

    @property
    def _spaces(self) -> SpaceChoice:
        return self.space

    def _search_of(self, stage: int) -> tuple[Search, int]:
        if stage == 0:
            return self.search, self.budget
        return (
            self.search if self.later_search is None else self.later_search,
            self.budget if self.later_budget is None else self.later_budget,
        )

    def _undirected(self) -> list[str]:
        """Says which search knows nothing of the bounds and starts of its space."""
        found: list[str] = []
        for stage in range(self.space.stages):
            search, _ = self._search_of(stage)
            if search.descends or (stage == 0 and self.space.normal_start):
                continue
            found.append(
                f"{type(search).__name__} begins around N(0, I) and cannot search "
                f"{type(self.space).__name__}{'' if stage == 0 else ' after the latents'}: choose "
                f"AdamSearch or LBFGSSearch as {'search' if stage == 0 else 'later_search'}."
            )
        return found[:1]

    def _objective(
        self,
        received: Received,
        space: SearchSpace,
        labels: Tensor,
        distances: UpdateDistances,
        model: nn.Module,
    ) -> Objective:
        return Objective(
            space,
            distances,
            labels,
            weights=self._summing_weights(received),
            statistics_weight=self.buffer_weight,
            penalties=WeightedPenalties(self.penalties, model),
        )

    def _summing_weights(self, received: Received) -> Tensor | None:
        """Weights that make a sum of the objective's mean over tensors, as papers have it."""
        if self.distance is WholeDistance.whole_cosine:
            return None
        tensors = len(received.update)
        weights = self._tensor_weights(received)
        return tensors * (torch.ones(tensors) if weights is None else weights)


def _in_range(found: Finding) -> Finding:
    return found if found.images is None else replace(found, images=found.images.clamp(-1, 1))
