"""Generative gradient leakage: a received update in, reconstructions out."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from ggl_lightning.attacks.base import UNWATCHED, Attack, Finding, Progress, Target, other_kind
from ggl_lightning.attacks.matching.image_distances import ImageDistances
from ggl_lightning.attacks.matching.micro_batching import MicroBatch, MicroBatching
from ggl_lightning.attacks.matching.simulation import telling_layers
from ggl_lightning.attacks.matching.update_distances import Distance, UpdateDistances, layer_weights
from ggl_lightning.attacks.objective import Objective
from ggl_lightning.attacks.penalties import Regularizer
from ggl_lightning.attacks.received import Received
from ggl_lightning.attacks.searches import NotRepeatableError, RefinedSearch, Search
from ggl_lightning.attacks.searches.loop import Notify, SearchLoop
from ggl_lightning.attacks.searches.snapshots import TrialSnapshot
from ggl_lightning.attacks.spaces import LatentSpace
from ggl_lightning.clients import trainable_parameters
from ggl_lightning.clients.procedures import ClientProcedure, Order, sample_orders
from ggl_lightning.errors import UserError, check_non_negative, check_positive
from ggl_lightning.priors.base import Prior
from ggl_lightning.problems import Problems
from ggl_lightning.seeding import seeded, torch_generator

_log = logging.getLogger(__name__)

_ORDERS = (0x0DE2, 1)
"""The stream of the attacker's orders: neither its trials' nor the client's."""


class GenerativeGradientLeakage(Attack):
    """Searches a prior's latent space for the images that explain an update (Li et al. 2022).

    Its public attributes are its parameters: they identify it in results. How candidates are
    evaluated (``max_memory_mb``, ``micro_batch``) is not among them, as it does not change what is
    computed.

    Args:
        search: What proposes the candidates.
        budget: What each trial may spend: rounds, or what the search says.
        n_trials: Independent trials; the one with the lowest objective wins.
        adaptive: Whether the attacker knows which defense was used and applies its estimate of it
            to every candidate's update.
        known_label: Whether the attacker is told the private labels instead of inferring them.
        distance: What is measured between two tensors of two updates.
        use_weight: Weights of the parameter tensors: false for none, true for the published ones
            of a ResNet-18, or a list.
        regularizer: What keeps latents likely.
        kl_weight: Its weight.
        squash: Whether latents pass through ``tanh`` (then they are not regularised).
        refine_steps: Adam steps from the search's recommendation, after its budget is spent.
        refine_lr: Their learning rate.
        max_memory_mb: Bound on the memory for candidates that are evaluated together, in units of
            2^20 bytes; null for 1024 on the CPU and half of an accelerator's memory.
        micro_batch: How many candidates are evaluated together: a number, ``auto`` for what fits
            the bound, or ``measure`` for the fastest that does; see `MicroBatching`.
        believes: What the attacker believes that the client did; null if it knows the client's
            procedure. The order in which the client took its images it never knows.
        orders: How many orders it draws and takes the mean objective over, where the order matters;
            the cost of a candidate grows with it, for an objective that misleads a little less.
        buffer_weight: Weight of the distance between the batch statistics of a candidate and those
            that sent buffers give away; 0 leaves them out. With 0.1 they count about as much as
            the update does.

    Raises:
        UserError: If a number is out of range.
    """

    def __init__(
        self,
        search: Search,
        budget: int = 500,
        n_trials: int = 1,
        adaptive: bool = False,
        known_label: bool = False,
        distance: Distance = Distance.l2,
        use_weight: bool | list[float] = False,
        regularizer: Regularizer = Regularizer.kl,
        kl_weight: float = 0.1,
        squash: bool = False,
        refine_steps: int = 0,
        refine_lr: float = 0.01,
        max_memory_mb: float | None = None,
        micro_batch: MicroBatch = "auto",
        believes: ClientProcedure | None = None,
        orders: int = 1,
        buffer_weight: float = 0.1,
    ) -> None:
        check_positive("budget", budget)
        check_positive("n_trials", n_trials)
        check_non_negative("kl_weight", kl_weight)
        check_non_negative("refine_steps", refine_steps)
        check_positive("refine_lr", refine_lr)
        check_positive("orders", orders)
        check_non_negative("buffer_weight", buffer_weight)
        self.search = search
        self.budget = budget
        self.n_trials = n_trials
        self.adaptive = adaptive
        self.known_label = known_label
        self.distance = distance
        self.use_weight = use_weight
        self.regularizer = regularizer
        self.kl_weight = kl_weight
        self.squash = squash
        self.refine_steps = refine_steps
        self.refine_lr = refine_lr
        self.believes = believes
        self.orders = orders
        self.buffer_weight = buffer_weight
        # Private, since it does not identify a result; kept, since it is found out once a run.
        self._evaluation = MicroBatching(max_memory_mb, micro_batch)

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
        objective = self._objective(received, target.prior, labels, distances)
        found = self._search(objective, labels, seed, progress)
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
                **objective.evaluation_report(),
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
        """Searches the prior for given images themselves: what no update could improve on.

        Search, budget and trials are the attack's own; the objective is the images' mean squared
        error, with no regulariser. Arguments are as in `Attack.invert`.
        """
        distances = ImageDistances(images, self._evaluation)
        objective = Objective(self._space(target.prior), distances, labels)
        return self._search(objective, labels.cpu(), seed, progress)

    def problems(self, target: Target, count: int, procedure: ClientProcedure) -> list[str]:
        """See `Attack.problems`: labels that cannot be inferred, layer weights, the budget."""
        found = Problems()
        found.extend(super().problems(target, count, procedure))
        found.of(lambda: layer_weights(self.use_weight, len(trainable_parameters(target.model))))
        shape = self._space(target.prior).shape(count)
        found.of(lambda: self._whole_search.start(shape, self.budget, 0))
        return list(found)

    @property
    def evaluations(self) -> int:
        """Candidates that all trials evaluate, unless one ends early."""
        return self.n_trials * (self._whole_search.evaluations(self.budget) + 1)

    @property
    def cost(self) -> float:
        """The same in evaluations without gradient, each with one taken for as many as it costs."""
        return self.n_trials * (self._whole_search.cost(self.budget) + 1)

    def sample(self) -> tuple[GenerativeGradientLeakage, float]:
        """See `Attack.sample`: one trial; the rounds of a refinement cost more than the first."""
        short = copy.copy(self)
        short.n_trials = 1
        worth = self.cost * self.search.evaluations(self.budget) / self.search.cost(self.budget)
        return short, worth

    def _space(self, prior: Prior) -> LatentSpace:
        return LatentSpace(prior, self.squash)

    def _search(
        self, objective: Objective, labels: Tensor, seed: int, progress: Progress
    ) -> Finding:
        trials: list[SearchLoop] = []
        for trial in range(self.n_trials):
            kept = progress.resume[trial] if trial < len(progress.resume) else None
            trials.append(self._run_trial(objective, seed, progress.notify, trials, kept))
        best = min(trials, key=lambda loop: loop.best_loss)
        assert best.best_latent is not None  # a finished loop has evaluated at least one candidate
        with torch.no_grad():
            searched = best.best_latent.unsqueeze(0)
            images, artefacts = objective.images(searched), objective.space.artefacts(searched)
        return Finding(
            images=images[0].cpu(),
            labels=labels,
            artefacts={name: values[0].cpu() for name, values in artefacts.items()},
            loss=best.best_loss,
            trial=best.trial,
            trial_losses=[loop.best_loss for loop in trials],
            rounds=sum(loop.round for loop in trials),
            evaluations=sum(loop.evaluations for loop in trials),
            seconds=sum(loop.elapsed for loop in trials),
            histories=[loop.history for loop in trials],
            stop_reasons=[loop.stop_reason for loop in trials if loop.stop_reason is not None],
        )

    @property
    def _whole_search(self) -> Search:
        if self.refine_steps:
            return RefinedSearch(self.search, self.refine_steps, self.refine_lr)
        return self.search

    def _drawn_orders(self, received: Received, model: nn.Module, seed: int) -> list[Order]:
        """Orders in which the client may have taken its images; one if all are the same."""
        generator = torch_generator(seed, *_ORDERS)
        return sample_orders(received.procedure, model, received.count, self.orders, generator)

    def _compared_buffers(self, received: Received, model: nn.Module) -> Mapping[str, Tensor]:
        """The buffers that say something of the images and are to be compared."""
        buffers = received.record.buffers
        counts = self.buffer_weight > 0 and received.procedure.batch_norm_mode == "train"
        return buffers if counts and telling_layers(model, buffers) else {}

    def _objective(
        self,
        received: Received,
        prior: Prior,
        labels: Tensor,
        distances: UpdateDistances,
    ) -> Objective:
        return Objective(
            self._space(prior),
            distances,
            labels,
            weights=self._tensor_weights(received),
            # Squashed latents are bounded, and none is unlikely.
            regularizer=None if self.squash else self.regularizer,
            regularizer_weight=self.kl_weight,
            statistics_weight=self.buffer_weight,
        )

    def _tensor_weights(self, received: Received) -> Tensor | None:
        """Weights of the tensors' distances, which also bring these to units of a mean gradient.

        Else the regulariser would outweigh a difference, which is as small as the learning rate.
        """
        weights = layer_weights(self.use_weight, len(received.update))
        unit = abs(received.procedure.gradient_unit(received.count))
        power = {Distance.l2: 2, Distance.l1: 1, Distance.cosine: 0}[self.distance]
        if unit == 1 or power == 0:
            return weights
        ones = torch.ones(len(received.update)) if weights is None else weights
        return ones / unit**power

    def _run_trial(
        self,
        objective: Objective,
        seed: int,
        notify: Notify,
        earlier: list[SearchLoop],
        kept: TrialSnapshot | None,
    ) -> SearchLoop:
        search = self._whole_search
        trial = len(earlier)
        trial_seed = int(np.random.SeedSequence([seed, trial]).generate_state(1)[0])
        # Some optimisers draw from the global generators. A trial of its own seed can be resumed
        # without its predecessors.
        with seeded(trial_seed):
            search.start_in(objective.space, objective.count, self.budget, trial_seed)
            rounds = search.rounds(self.budget)
            loop = SearchLoop(objective, search, rounds, trial, notify, earlier)
            try:
                if kept is not None:
                    loop.restore(kept)
            except NotRepeatableError as error:
                _log.warning("Trial %d starts afresh after its interruption: %s.", trial, error)
            else:
                if not loop.finished:
                    loop.run()
                return loop
        return self._run_trial(objective, seed, notify, earlier, kept=None)
