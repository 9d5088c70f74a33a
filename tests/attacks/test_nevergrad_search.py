import importlib.util

import nevergrad as ng
import numpy as np
import pytest
import torch

from ggl_lightning.attacks.searches import NevergradSearch
from ggl_lightning.errors import UserError


def _sphere(search, rounds, seed, shape=(2, 4)):
    """Minimises the squared distance to 0.5; returns every population and the recommendation."""
    search.start(shape, rounds, seed)
    asked = []
    for _ in range(rounds):
        latents = search.ask()
        asked.append(latents)
        search.tell((latents - 0.5).square().flatten(1).sum(1))
    return torch.stack(asked), search.recommend()


# The last one draws from NumPy's global generator.
@pytest.mark.parametrize("method", ["CMA", "TwoPointsDE", "PSO", "LognormalDiscreteOnePlusOne"])
def test_same_seed_same_bits_whatever_the_global_generators_do(method):
    search = NevergradSearch(method, population=10)
    np.random.seed(0)  # noqa: NPY002 - the state that must not matter
    torch.manual_seed(0)
    first = _sphere(search, 6, seed=4)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    again = _sphere(search, 6, seed=4)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], _sphere(search, 6, seed=5)[0])


def test_cma_finds_the_minimum():
    populations, answer = _sphere(NevergradSearch("CMA", population=20), 60, seed=0)
    assert populations.shape == (60, 20, 2, 4)
    assert populations.dtype == torch.float32
    torch.testing.assert_close(answer, torch.full((2, 4), 0.5), atol=1e-3, rtol=0)


def test_a_round_is_one_population_of_cma():
    search = NevergradSearch("CMA", population=50)
    search.start((128,), budget=3, seed=0)
    for generation in range(3):
        assert search._optimizer.es.countiter == generation
        latents = search.ask()
        search.tell(latents.square().sum(1))
    assert search._optimizer.es.popsize == 50
    assert search._optimizer.es.countiter == 3


def test_search_starts_at_zero():
    search = NevergradSearch("CMA", population=4000)
    search.start((3,), budget=1, seed=0)
    assert search.ask().mean(0).abs().max() < 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "cma"}, "Did you mean 'CMA'"),
        ({"method": "CMAX"}, "Did you mean .*'CMA'"),
        ({"population": 0}, "population is 0"),
        ({"method": "Cobyla", "population": 2}, "one candidate at a time"),
        ({"method": "DS9", "population": 2}, "not support parallelization.*population to 1"),
        ({"method": "BAR4", "population": 4}, "'BAR4' of nevergrad does not run here with pop"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(UserError, match=message):
        NevergradSearch(**arguments)


def test_a_candidate_that_is_not_finite_is_refused(monkeypatch):
    search = NevergradSearch("PSO", population=4)
    search.start((2, 3), budget=5, seed=0)
    infinite = ng.p.Array(init=np.full((2, 3), np.inf))
    monkeypatch.setattr(search._optimizer, "ask", lambda: infinite)
    with pytest.raises(UserError, match="'PSO' proposed a latent that is not finite"):
        search.ask()


# Packages that methods need and nevergrad does not install, by the beginning of their names.
PACKAGES = {
    "AX": "ax", "BOBYQA": "pybobyqa", "BayesOptimBO": "bayes_optim", "FCMA": "fcmaes",
    "NLOPT": "nlopt", "PCABO": "bayes_optim", "Pymoo": "pymoo", "SMAC3": "smac", "pysot": "poap",
}  # fmt: skip


def _installed(method):
    needed = [package for start, package in PACKAGES.items() if method.startswith(start)]
    return all(importlib.util.find_spec(package) for package in needed)


def _search(method):
    """With several candidates a round where the method can, else with one."""
    try:
        return NevergradSearch(method, population=3)
    except UserError:
        return NevergradSearch(method, population=1)


# A few seconds each: every model they fit has its own hyper-parameter search.
SLOW = {"BO", "BOSplit"}


# Proposes infinities; runs threads that compete for random numbers.
UNFIT = {"AnisotropicAdaptiveDiscreteOnePlusOne", "MultiDS"}


@pytest.mark.filterwarnings("ignore")  # of two rounds being few
@pytest.mark.parametrize("share", range(6))
def test_every_optimiser_of_the_registry_runs_or_says_what_it_needs(share):
    methods = sorted(set(ng.optimizers.registry) - SLOW)[share::6]
    assert methods
    for method in methods:
        if method in UNFIT:
            continue
        if not _installed(method):
            with pytest.raises(UserError, match="Install the package it needs"):
                _search(method)
            continue
        search = _search(method)
        populations, answer = _sphere(search, 2, seed=1)
        assert populations.shape == (2, search.population, 2, 4), method
        assert populations.isfinite().all(), method
        assert answer.isfinite().all(), method
        np.random.seed(7)  # noqa: NPY002 - the state that must not matter
        again, _ = _sphere(search, 2, seed=1)
        assert torch.equal(populations, again), method


@pytest.mark.parametrize("method", ["NGOpt", "MetaModel", "NgIoh"])
def test_methods_that_fit_a_model_to_what_they_saw(method):
    """They failed with NumPy 2.4, and only once there was enough to fit."""
    populations, answer = _sphere(NevergradSearch(method, population=4), 15, seed=0)
    assert populations.isfinite().all()
    assert (answer - 0.5).square().sum() < (populations[0, 0] - 0.5).square().sum()
