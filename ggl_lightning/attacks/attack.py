"""Generative gradient leakage: a received update in, a reconstruction out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ggl_lightning.attacks.distances import UpdateDistances
from ggl_lightning.attacks.label_inference import InferredLabel, infer_label
from ggl_lightning.attacks.objective import Objective
from ggl_lightning.attacks.search_loop import Notify, SearchLoop
from ggl_lightning.attacks.searches import Search
from ggl_lightning.clients import Update, find_classifier_layer
from ggl_lightning.errors import check_non_negative, check_positive
from ggl_lightning.priors.base import Prior


@dataclass(frozen=True)
class Reconstruction:
    """What an attack recovered from one update.

    Attributes:
        image: ``(3, H, W)`` in ``[-1, 1]``, on the CPU.
        latent: The latent the prior turns into ``image``, ``latent_shape``, on the CPU.
        loss: Its objective: the lowest among the trials.
        inferred_label: The label read off the update.
        trial: Which trial won, from 0.
        trial_losses: Final objective of every trial.
        rounds: Rounds run, over all trials.
        evaluations: Candidates evaluated, over all trials.
        stop_reasons: Why trials ended early, if any did.
    """

    image: Tensor
    latent: Tensor
    loss: float
    inferred_label: InferredLabel
    trial: int
    trial_losses: list[float]
    rounds: int
    evaluations: int
    stop_reasons: list[str]


class GenerativeGradientLeakage:
    """Searches a prior's latent space for the image that explains an update (Li et al. 2022).

    Its public attributes are its parameters: they identify it in results.

    Args:
        search: What proposes the candidates.
        budget: Rounds per trial; a round evaluates ``search.population`` candidates.
        n_trials: Independent trials; the one with the lowest objective wins.
        kl_weight: Weight of the latent regulariser.
        squash: Whether latents pass through ``tanh`` (then they are not regularised).

    Raises:
        UserError: If ``budget`` or ``n_trials`` is not positive, or ``kl_weight`` is negative.
    """

    def __init__(
        self,
        search: Search,
        budget: int = 500,
        n_trials: int = 1,
        kl_weight: float = 0.1,
        squash: bool = False,
    ) -> None:
        check_positive("budget", budget)
        check_positive("n_trials", n_trials)
        check_non_negative("kl_weight", kl_weight)
        self.search = search
        self.budget = budget
        self.n_trials = n_trials
        self.kl_weight = kl_weight
        self.squash = squash

    def run(
        self,
        received: Update,
        model: nn.Module,
        prior: Prior,
        seed: int,
        notify: Notify = lambda _hook, _loop: None,
    ) -> Reconstruction:
        """Attacks one update.

        Args:
            received: The update as the server received it.
            model: The client model, in eval mode, on the prior's device.
            prior: The prior, in eval mode.
            seed: Trial ``k`` is seeded from ``(seed, k)``.
            notify: Passed on to `SearchLoop`.

        Raises:
            UserError: If the update does not fit the model or the model has no linear last layer.
            NonFiniteLossError: If the objective becomes NaN or infinite.
        """
        blank = torch.zeros(1, 3, prior.image_size, prior.image_size, device=prior.device)
        inferred = infer_label(received, find_classifier_layer(model, blank))
        objective = Objective(
            prior, UpdateDistances(model, received), inferred.label, self.kl_weight, self.squash
        )
        trials = [
            self._run_trial(objective, prior, trial, seed, notify) for trial in range(self.n_trials)
        ]
        best = min(trials, key=lambda loop: loop.best_loss)
        assert best.best_latent is not None  # a finished loop has evaluated at least one candidate
        with torch.no_grad():
            searched = best.best_latent.unsqueeze(0)
            image, latent = objective.images(searched)[0], objective.generator_latents(searched)[0]
        return Reconstruction(
            image=image.cpu(),
            latent=latent.cpu(),
            loss=best.best_loss,
            inferred_label=inferred,
            trial=best.trial,
            trial_losses=[loop.best_loss for loop in trials],
            rounds=sum(loop.round for loop in trials),
            evaluations=sum(loop.evaluations for loop in trials),
            stop_reasons=[loop.stop_reason for loop in trials if loop.stop_reason is not None],
        )

    def _run_trial(
        self, objective: Objective, prior: Prior, trial: int, seed: int, notify: Notify
    ) -> SearchLoop:
        trial_seed = int(np.random.SeedSequence([seed, trial]).generate_state(1)[0])
        self.search.start(prior.latent_shape, self.budget, trial_seed)
        loop = SearchLoop(objective, self.search, self.budget, trial, notify)
        loop.run()
        return loop
