"""What attacks have in common that search for the images behind an update."""

from __future__ import annotations

import copy
import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from ggl_lightning.attacks.base import UNWATCHED, Attack, Finding, Progress, Target, other_kind
from ggl_lightning.attacks.matching.distance import WholeDistance
from ggl_lightning.attacks.matching.image_distances import ImageDistances
from ggl_lightning.attacks.matching.micro_batching import MicroBatching
from ggl_lightning.attacks.matching.simulation import telling_layers
from ggl_lightning.attacks.matching.update_distances import Distance, UpdateDistances, layer_weights
from ggl_lightning.attacks.objective import Objective
from ggl_lightning.attacks.received import Received
from ggl_lightning.attacks.searches import NotRepeatableError, Search
from ggl_lightning.attacks.searches.loop import Notify, SearchLoop
from ggl_lightning.attacks.searches.snapshots import TrialSnapshot
from ggl_lightning.attacks.spaces import Reached, SearchSpace, SpaceChoice
from ggl_lightning.clients import trainable_parameters
from ggl_lightning.clients.procedures import ClientProcedure, Order, sample_orders
from ggl_lightning.errors import UserError, check_non_negative, check_positive
from ggl_lightning.problems import Problems
from ggl_lightning.seeding import seeded, torch_generator

_log = logging.getLogger(__name__)

_ORDERS = (0x0DE2, 1)
"""The stream of the attacker's orders: neither its trials' nor the client's."""

_POWERS: dict[Distance | WholeDistance, int] = {Distance.l2: 2, Distance.l1: 1}
"""How distances grow with the updates' scale; cosines do not."""


class SearchingAttack(Attack):
    """Searches for images whose update is the received one.

    Which spaces are searched one after the other, by what, and what an objective is made of, is a
    subclass's to say. Each of the spaces is a stage: it begins at what the stage before found. The
    answer is the stage with the lowest objective, of all trials.

    Public attributes are parameters: they identify an attack in results. How candidates are
    evaluated is not among them, as it does not change what is computed.

    Args:
        search: What proposes the candidates.
        budget: What it may spend.
        n_trials: Independent trials; the one with the lowest objective wins.
        adaptive: Whether the attacker applies its estimate of the defense to candidates' updates.
        known_label: Whether the attacker is told the private labels.
        distance: What is measured between two tensors of two updates, or between the updates.
        use_weight: Weights of the parameter tensors, as `layer_weights` has them.
        believes: What the attacker believes that the client did; None if it knows.
        orders: How many orders of the client's images it takes the mean objective over.
        buffer_weight: Weight of the distance from batch statistics that were sent.
        evaluation: In which parts populations are evaluated.

    Raises:
        UserError: If a number is out of range.
    """

    def __init__(
        self,
        search: Search,
        budget: int,
        n_trials: int,
        adaptive: bool,
        known_label: bool,
        distance: Distance | WholeDistance,
        use_weight: bool | list[float],
        believes: ClientProcedure | None,
        orders: int,
        buffer_weight: float,
        evaluation: MicroBatching,
    ) -> None:
        check_positive("budget", budget)
        check_positive("n_trials", n_trials)
        check_positive("orders", orders)
        check_non_negative("buffer_weight", buffer_weight)
        self.search = search
        self.budget = budget
        self.n_trials = n_trials
        self.adaptive = adaptive
        self.known_label = known_label
        self.distance = distance
        self.use_weight = use_weight
        self.believes = believes
        self.orders = orders
        self.buffer_weight = buffer_weight
        # Private, since it does not identify a result; kept, since it is found out once a run.
        self._evaluation = evaluation

    @property
    @abstractmethod
    def _spaces(self) -> SpaceChoice:
        """What is searched."""

    @abstractmethod
    def _search_of(self, stage: int) -> tuple[Search, int]:
        """The search of a stage, and its budget."""

    @abstractmethod
    def _objective(
        self,
        received: Received,
        space: SearchSpace,
        labels: Tensor,
        distances: UpdateDistances,
        model: nn.Module,
    ) -> Objective:
        """What is minimised in a space."""

    def run(
        self,
        received: Received,
        target: Target,
        seed: int,
        progress: Progress = UNWATCHED,
    ) -> Finding:
        """Attacks one update.

        Args:
            received: What the server holds.
            target: What is attacked.
            seed: Trial ``k``, global generators included, is seeded from ``(seed, k)``.
            progress: What to tell, and where to go on.

        Raises:
            UserError: If the update or the layer weights do not fit the model, or labels must be
                inferred from an update without the last layer.
            NonFiniteLossError: If the objective becomes NaN or infinite.
        """
        if received.record.kind != received.procedure.kind:
            raise UserError(other_kind(received.procedure, received.record.kind))
        model, classifier = target.model, target.classifier
        inferred, labels = received.assumed_labels(model, classifier)
        # An empty update shows no trace of a defense that could be estimated.
        adapts = self.adaptive and any(bool(tensor.any()) for tensor in received.update)
        adaptation = received.defense.adapt(received.update, classifier) if adapts else None
        orders = self._drawn_orders(received, model, seed)
        buffers = self._compared_buffers(received, model)
        distances = UpdateDistances(
            model,
            received.update,
            received.procedure,
            adaptation,
            self.distance,
            self._evaluation,
            orders,
            buffers,
        )

        def objective_in(space: SearchSpace) -> Objective:
            return self._objective(received, space, labels, distances, model)

        found = self._searched(objective_in, target, labels, seed, progress)
        return replace(
            found,
            inferred=inferred,
            estimate=None if adaptation is None else adaptation.estimate,
            evaluation={
                "way": distances.way,
                "mode": received.procedure.batch_norm_mode,
                "orders": len(orders),
                "buffers": bool(buffers),
                "general_parameters": len(distances.general_parameters),
                **found.evaluation,
            },
        )

    def invert(
        self,
        images: Tensor,
        labels: Tensor,
        target: Target,
        seed: int,
        progress: Progress = UNWATCHED,
    ) -> Finding:
        """Searches for given images themselves: what no update could improve on.

        Search, budget and trials are the attack's own; the objective is the images' mean squared
        error, with no regulariser or penalty. Arguments are as in `Attack.invert`.
        """
        distances = ImageDistances(images, self._evaluation)

        def objective_in(space: SearchSpace) -> Objective:
            return Objective(space, distances, labels)

        found = self._searched(objective_in, target, labels.cpu(), seed, progress)
        return replace(found, evaluation={})

    def problems(self, target: Target, count: int, procedure: ClientProcedure) -> list[str]:
        """See `Attack.problems`: what is to be searched, layer weights, the budget."""
        found = Problems()
        found.extend(super().problems(target, count, procedure))
        found.of(lambda: layer_weights(self.use_weight, len(trainable_parameters(target.model))))
        if self.needs_prior and target.prior is None:  # which has been told of
            return list(found)
        in_the_way = self._spaces.problems(target)
        found.extend(in_the_way)
        if not in_the_way:
            search, budget = self._search_of(0)
            space = self._spaces.space(target, 0, None)
            found.of(lambda: search.start_in(space, count, budget, 0))
        return list(found)

    @property
    def needs_prior(self) -> bool:
        """See `Attack.needs_prior`: as the spaces that are searched do."""
        return self._spaces.needs_prior

    @property
    def evaluations(self) -> int:
        """Candidates that all trials evaluate, unless one ends early."""
        return self.n_trials * sum(
            search.evaluations(budget) + 1 for search, budget in self._searches
        )

    @property
    def cost(self) -> float:
        """The same in evaluations without gradient, each with one taken for as many as it costs."""
        return self.n_trials * sum(search.cost(budget) + 1 for search, budget in self._searches)

    def sample(self) -> tuple[Self, float]:
        """See `Attack.sample`: one trial; later rounds may cost more than the first."""
        short = copy.copy(self)
        short.n_trials = 1
        worth = self.cost * self.search.evaluations(self.budget) / self.search.cost(self.budget)
        return short, worth

    @property
    def _searches(self) -> list[tuple[Search, int]]:
        return [self._search_of(stage) for stage in range(self._spaces.stages)]

    def _searched(
        self,
        objective_in: Callable[[SearchSpace], Objective],
        target: Target,
        labels: Tensor,
        seed: int,
        progress: Progress,
    ) -> Finding:
        """All trials, stage by stage; how candidates were evaluated is that of the last stage."""
        stages, assumed = self._spaces.stages, labels.to(target.device)
        first = objective_in(self._spaces.space(target, 0, None))  # the same for all trials
        loops: list[SearchLoop] = []
        for trial in range(self.n_trials):
            objective = first
            for stage in range(stages):
                if stage:
                    point = loops[-1].best_latent
                    assert point is not None  # a finished loop has evaluated some candidate
                    reached = Reached(objective.space, point, assumed)
                    objective = objective_in(self._spaces.space(target, stage, reached))
                kept = progress.resume[len(loops)] if len(loops) < len(progress.resume) else None
                place = (trial, stage) if stage else (trial,)
                loops.append(self._run_search(objective, seed, place, progress.notify, loops, kept))
        best = min(loops, key=lambda loop: loop.best_loss)
        objective = best.objective
        assert best.best_latent is not None
        with torch.no_grad():
            searched = best.best_latent.unsqueeze(0)
            images, artefacts = objective.images(searched), objective.space.artefacts(searched)
            likely = objective.space.probabilities(searched)
        trials = [loops[first : first + stages] for first in range(0, len(loops), stages)]
        return Finding(
            images=images[0].cpu(),
            labels=labels if likely is None else likely[0].argmax(dim=-1).cpu(),
            artefacts={name: values[0].cpu() for name, values in artefacts.items()},
            loss=best.best_loss,
            trial=best.trial // stages,
            trial_losses=[min(loop.best_loss for loop in trial) for trial in trials],
            rounds=sum(loop.round for loop in loops),
            evaluations=sum(loop.evaluations for loop in loops),
            seconds=sum(loop.elapsed for loop in loops),
            histories=[loop.history for loop in loops],
            stop_reasons=[loop.stop_reason for loop in loops if loop.stop_reason is not None],
            evaluation=loops[-1].objective.evaluation_report(),
        )

    def _drawn_orders(self, received: Received, model: nn.Module, seed: int) -> list[Order]:
        """Orders in which the client may have taken its images; one if all are the same."""
        generator = torch_generator(seed, *_ORDERS)
        return sample_orders(received.procedure, model, received.count, self.orders, generator)

    def _compared_buffers(self, received: Received, model: nn.Module) -> Mapping[str, Tensor]:
        """The buffers that say something of the images and are to be compared."""
        buffers = received.record.buffers
        counts = self.buffer_weight > 0 and received.procedure.batch_norm_mode == "train"
        return buffers if counts and telling_layers(model, buffers) else {}

    def _tensor_weights(self, received: Received) -> Tensor | None:
        """Weights of the tensors' distances, which also bring these to units of a mean gradient.

        Else what is added to them would outweigh a difference, which is as small as the learning
        rate.
        """
        weights = layer_weights(self.use_weight, len(received.update))
        unit = abs(received.procedure.gradient_unit(received.count))
        power = _POWERS.get(self.distance, 0)
        if unit == 1 or power == 0:
            return weights
        ones = torch.ones(len(received.update)) if weights is None else weights
        return ones / unit**power

    def _run_search(
        self,
        objective: Objective,
        seed: int,
        place: tuple[int, ...],
        notify: Notify,
        earlier: list[SearchLoop],
        kept: TrialSnapshot | None,
    ) -> SearchLoop:
        """One search: of ``place``, the number of the trial, and of the stage but the first."""
        search, budget = self._search_of(place[1] if len(place) > 1 else 0)
        own_seed = int(np.random.SeedSequence([seed, *place]).generate_state(1)[0])
        # Some optimisers draw from the global generators. A search of its own seed can be resumed
        # without its predecessors.
        with seeded(own_seed):
            search.start_in(objective.space, objective.count, budget, own_seed)
            rounds, number = search.rounds(budget), len(earlier)
            loop = SearchLoop(objective, search, rounds, number, notify, earlier)
            try:
                if kept is not None:
                    loop.restore(kept)
            except NotRepeatableError as error:
                _log.warning("Trial %d starts afresh after its interruption: %s.", number, error)
            else:
                if not loop.finished:
                    loop.run()
                return loop
        return self._run_search(objective, seed, place, notify, earlier, kept=None)
