"""Gradient-free search with any optimiser of nevergrad's registry."""

from __future__ import annotations

import math
import random
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import cma
import nevergrad as ng
import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

from ggl_lightning.attacks.searches.base import Search
from ggl_lightning.errors import UserError, check_choice, check_positive
from ggl_lightning.seeding import seeded

# Otherwise cma, which some methods call without a seed, seeds NumPy from the clock.
cma.CMAOptions.defaults()["seed"] = math.nan


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

    A few optimisers draw from NumPy's and Python's global generators, which `start` therefore
    seeds: they repeat to the bit as long as nothing else draws from those during the search.
    ``MultiDS`` alone may not, since its threads compete for them.

    Args:
        method: Name in nevergrad's registry, e.g. ``CMA``, ``DE``, ``TwoPointsDE``, ``PSO``.
        population: Candidates per round.

    Raises:
        UserError: If ``method`` is unknown, needs a package that is not installed, or cannot
            evaluate several candidates at once although ``population`` is above 1; if
            ``population`` is not positive; from `ask`, if a candidate is not finite.
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
        self._try_out()

    def evaluations(self, budget: int) -> int:
        """See `Search.evaluations`."""
        return budget * self.population

    def start(self, latent_shape: tuple[int, ...], budget: int, seed: int) -> None:
        """See `Search.start`."""
        np.random.seed(seed)  # noqa: NPY002 - see the class
        random.seed(seed)
        self._optimizer = self._build(latent_shape, budget, seed)
        self._asked = []

    def ask(self) -> Tensor:
        """See `Search.ask`."""
        with _one_blas_thread():
            self._asked = [self._optimizer.ask() for _ in range(self.population)]
        latents = np.stack([candidate.value for candidate in self._asked])
        if not np.isfinite(latents).all():
            raise UserError(
                f"The search method {self.method!r} proposed a latent that is not finite: it is "
                "not made for unbounded continuous variables. Choose another method."
            )
        return torch.from_numpy(latents).float()

    def tell(self, losses: Tensor) -> None:
        """See `Search.tell`."""
        with _one_blas_thread():
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

    def _build(self, latent_shape: tuple[int, ...], budget: int, seed: int) -> Any:
        parametrization = ng.p.Array(init=np.zeros(latent_shape))
        parametrization.random_state = np.random.RandomState(seed)
        return _family(self.method, self.population)(
            parametrization, budget=budget * self.population, num_workers=self.population
        )

    def _try_out(self) -> None:
        """Runs a small optimiser: what keeps the method from running shows now, not later."""
        try:
            with seeded(0):
                optimizer = self._build((2,), budget=10, seed=0)
                optimizer.tell(optimizer.ask(), 0.0)
                optimizer.ask()
        except (ImportError, RuntimeError, ValueError, ZeroDivisionError) as error:
            # Some run in a thread of their own; what ended it is the cause.
            reason = error.__cause__ or error
            size = (
                "raise population"
                if self.population == 1
                else "set population to 1 if it proposes one candidate at a time"
            )
            raise UserError(
                f"The search method {self.method!r} of nevergrad does not run here with population "
                f"{self.population}: {reason}. Install the package it needs, {size}, or choose "
                "another method."
            ) from error


def _one_blas_thread() -> AbstractContextManager[Any]:
    """Keeps NumPy from splitting what is too small to be split.

    Its waiting threads would take the cores from PyTorch's as well.
    """
    return _threadpools().limit(limits=1, user_api="blas")


@cache
def _threadpools() -> ThreadpoolController:
    return ThreadpoolController()


def _family(method: str, population: int) -> Any:
    """What nevergrad builds optimisers of this method with."""
    if method == "CMA":
        return ng.optimizers.ParametrizedCMA(popsize=population)
    return ng.optimizers.registry[method]
