import math

import numpy as np
import pytest
import torch

from ggl_lightning.defenses import Clipping, Noise, Quantization
from ggl_lightning.errors import UserError
from tests.defenses.updates import AWKWARD, adapted, defend, doubles, equal, update_like
from tests.tiny import client_side


def _reference(values, bits):
    """The nearest of all levels, found by looking at each."""
    values = np.asarray(values, dtype=np.float64)
    largest = 2 ** (bits - 1) - 1
    levels = np.abs(values).max() * np.arange(-largest, largest + 1) / largest
    return levels[np.abs(values[..., None] - levels).argmin(-1)]


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_entries_go_to_the_nearest_level(bits):
    values = np.random.default_rng(bits).standard_normal((6, 50))
    (rounded,) = defend(Quantization(bits), doubles(values))
    np.testing.assert_allclose(rounded.numpy(), _reference(values, bits), rtol=0, atol=1e-14)
    assert len(rounded.unique()) <= 2**bits - 1


@pytest.mark.parametrize("values", AWKWARD, ids=str)
@pytest.mark.parametrize("stochastic", [False, True])
def test_zeros_and_largest_entries_are_levels(values, stochastic):
    (rounded,) = defend(Quantization(4, stochastic), doubles(values))
    rounded, values = rounded.numpy(), np.array(values)
    fixed = (values == 0) | (np.abs(values) == np.abs(values).max())
    assert np.array_equal(rounded[fixed], values[fixed])


@pytest.mark.parametrize("bits", range(2, 17))
def test_quantising_twice_changes_nothing(bits):
    update = update_like(client_side().model.parameters(), seed=bits)
    once = defend(Quantization(bits), update)
    assert equal(defend(Quantization(bits), once), once)


def test_stochastic_rounding_is_unbiased_between_the_neighbouring_levels():
    n = 20_000
    values = torch.full((n,), 0.3, dtype=torch.float64)
    values[0] = 1.0
    (rounded,) = defend(Quantization(3, stochastic=True), [values])  # levels are thirds
    assert rounded[0] == 1
    share_down = (rounded[1:] == 0).double().mean().item()
    assert (rounded[1:] * 3).unique().tolist() == [0, 1]
    assert share_down == pytest.approx(0.1, abs=5 * math.sqrt(0.09 / n))


def test_stochastic_rounding_follows_from_its_generator_alone():
    update = update_like(client_side().model.parameters(), seed=0)
    defense = Quantization(4, stochastic=True)
    torch.manual_seed(1)
    first = defend(defense, update, seed=5)
    torch.manual_seed(2)
    assert equal(defend(defense, update, seed=5), first)
    assert not equal(defend(defense, update, seed=6), first)


@pytest.mark.parametrize("bits", range(2, 17))
@pytest.mark.parametrize("stochastic", [False, True])
def test_the_attacker_finds_the_number_of_bits(bits, stochastic):
    defense = Quantization(bits, stochastic)
    received = defend(defense, update_like(client_side().model.parameters(), seed=1, scale=1e-3))
    rescaled = defend(Clipping(0.01), received)
    for update in (received, rescaled):
        assert Quantization().adapt(update, None).estimate == {"bits": bits}


def test_the_attacker_finds_no_levels_under_noise():
    update = update_like(client_side().model.parameters(), seed=1)
    received = defend(Noise(0.01), defend(Quantization(4), update))
    assert Quantization().adapt(received, None).estimate == {"bits": 16}


def test_stochastic_rounding_leaves_the_attacker_nothing_to_undo():
    update = update_like(client_side().model.parameters(), seed=1)
    defense = Quantization(3, stochastic=True)
    assert equal(adapted(defense, defend(defense, update), update), update)


def test_gradient_passes_straight_through():
    update = torch.tensor([0.3, 0.6, -1.0], requires_grad=True)
    adaptation = Quantization().adapt([torch.tensor([0.0, 1.0, -1.0])], None)
    (rounded,) = adaptation([update])
    assert rounded.tolist() == [0, 1, -1]
    (gradient,) = torch.autograd.grad((rounded * torch.tensor([1.0, 2.0, 3.0])).sum(), update)
    assert gradient.tolist() == [1, 2, 3]


@pytest.mark.parametrize("bits", [1, 0, 17, 2.5])
def test_impossible_bits_are_refused(bits):
    with pytest.raises(UserError, match=f"bits .* is {bits}.*from 2 to 16"):
        Quantization(bits)
