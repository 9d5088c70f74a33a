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


@pytest.mark.parametrize("method", ["CMA", "TwoPointsDE", "PSO"])
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
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(UserError, match=message):
        NevergradSearch(**arguments)
