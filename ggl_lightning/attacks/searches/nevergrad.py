"""Gradient-free search with any optimiser of nevergrad's registry."""

from __future__ import annotations

from typing import Any

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

    ``CMA`` is CMA-ES with a full covariance matrix, as it was in nevergrad when the method was
    published. What nevergrad 1.0 registers under that name is a choice among variants (``MetaCMA``
    here): with more than 20 workers an elitist one with a diagonal covariance and a population
    one larger than the round.

    Args:
        method: Name in nevergrad's registry, e.g. ``CMA``, ``DE``, ``TwoPointsDE``, ``PSO``.
        population: Candidates per round.

    Raises:
        UserError: If ``method`` is unknown, cannot evaluate several candidates at once although
            ``population`` is above 1, or ``population`` is not positive.
    """

    def __init__(self, method: str = "CMA", population: int = 50) -> None:
        check_choice("The search method", method, ng.optimizers.registry)
        check_positive("population", population)
        if population > 1 and _family(method, population).no_parallelization:
            raise UserError(
                f"The search method {method!r} proposes one candidate at a time, but population "
                f"is {population}: set population to 1 or choose another method."
            )
        self.method = method
        self.population = population
        self._asked: list[ng.p.Parameter] = []

    def evaluations(self, budget: int) -> int:
        """See `Search.evaluations`."""
        return budget * self.population

    def start(self, latent_shape: tuple[int, ...], budget: int, seed: int) -> None:
        """See `Search.start`."""
        parametrization = ng.p.Array(init=np.zeros(latent_shape))
        parametrization.random_state = np.random.RandomState(seed)
        self._optimizer = _family(self.method, self.population)(
            parametrization, budget=budget * self.population, num_workers=self.population
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

    def stop(self) -> None:
        """See `Search.stop`.

        Optimisers that nevergrad runs in a thread (``Powell``, ``Cobyla``) end it when they are
        deleted; a process cannot end before.
        """
        self._asked = []
        self._optimizer = None


def _family(method: str, population: int) -> Any:
    """What nevergrad builds optimisers of this method with."""
    if method == "CMA":
        return ng.optimizers.ParametrizedCMA(popsize=population)
    return ng.optimizers.registry[method]
