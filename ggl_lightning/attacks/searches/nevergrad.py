"""Gradient-free search with any optimiser of nevergrad's registry."""

from __future__ import annotations

import nevergrad as ng
import numpy as np
import torch
from torch import Tensor

from ggl_lightning.attacks.searches.base import Search
from ggl_lightning.errors import UserError, check_choice, check_positive


class NevergradSearch(Search):
    """An optimiser of nevergrad's registry, started at the zero latent.

    The optimiser is told that ``population`` workers ask at once, so that a round is one
    population of its own: CMA-ES then samples and ranks all 50 together. Asking 50 times an
    optimiser that believes in its default population (18 for CMA-ES in 128 dimensions) spreads a
    round over several generations instead.

    Args:
        method: Name in nevergrad's registry, e.g. ``CMA``, ``DE``, ``TwoPointsDE``, ``NGOpt``.
        population: Candidates per round.

    Raises:
        UserError: If ``method`` is unknown, cannot evaluate several candidates at once although
            ``population`` is above 1, or ``population`` is not positive.
    """

    def __init__(self, method: str = "CMA", population: int = 50) -> None:
        check_choice("The search method", method, ng.optimizers.registry)
        check_positive("population", population)
        if population > 1 and ng.optimizers.registry[method].no_parallelization:
            raise UserError(
                f"The search method {method!r} proposes one candidate at a time, but population "
                f"is {population}: set population to 1 or choose another method."
            )
        self.method = method
        self.population = population
        self._asked: list[ng.p.Parameter] = []

    def start(self, latent_shape: tuple[int, ...], rounds: int, seed: int) -> None:
        """See `Search.start`."""
        parametrization = ng.p.Array(init=np.zeros(latent_shape))
        parametrization.random_state = np.random.RandomState(seed)
        self._optimizer = ng.optimizers.registry[self.method](
            parametrization, budget=rounds * self.population, num_workers=self.population
        )
        self._asked = []

    def ask(self) -> Tensor:
        """See `Search.ask`."""
        self._asked = [self._optimizer.ask() for _ in range(self.population)]
        return torch.from_numpy(np.stack([candidate.value for candidate in self._asked])).float()

    def tell(self, losses: Tensor) -> None:
        """See `Search.tell`."""
        for candidate, loss in zip(self._asked, losses.tolist(), strict=True):
            self._optimizer.tell(candidate, loss)

    def recommend(self) -> Tensor:
        """See `Search.recommend`."""
        return torch.from_numpy(self._optimizer.provide_recommendation().value).float()
