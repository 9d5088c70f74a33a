import math

import pytest
import torch
from scipy.stats import norm

from ggl_lightning.defenses import LocalDP
from ggl_lightning.defenses.local_dp import gaussian_epsilon
from ggl_lightning.errors import UserError
from tests.defenses.updates import defend, doubles, equal


def test_the_whole_update_is_clipped():
    update = doubles([3.0, 0.0], [[4.0]])
    clipped = defend(LocalDP(1.0, sensitivity=0.0), update)
    assert equal([t.round(decimals=12) for t in clipped], doubles([0.6, 0.0], [[0.8]]))
    assert equal(defend(LocalDP(5.0, sensitivity=0.0), update), update)


def test_an_update_of_zeros_stays_one_without_noise():
    assert equal(defend(LocalDP(1.0, sensitivity=0.0), doubles([0.0, 0.0])), doubles([0.0, 0.0]))


def test_the_noise_is_that_of_the_gaussian_mechanism():
    (noise,) = defend(LocalDP(1.0, 0.5, epsilon=2.0, delta=1e-3), [torch.zeros(200_000)])
    std = 0.5 * math.sqrt(2 * math.log(1.25 / 1e-3)) / 2.0
    assert noise.std().item() == pytest.approx(std, rel=0.01)
    assert noise.mean().item() == pytest.approx(0, abs=0.01 * std)


def delta_of(epsilon, distance):
    """The largest advantage of any test between N(0, 1) and N(d, 1), by integrating it."""
    x = torch.linspace(-30, 30, 2_000_001, dtype=torch.float64).numpy()
    gap = norm.pdf(x, distance) - math.exp(epsilon) * norm.pdf(x)
    return gap.clip(0).sum() * (x[1] - x[0])


@pytest.mark.parametrize("distance", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("delta", [1e-2, 1e-5])
def test_epsilon_is_exact(distance, delta):
    epsilon = gaussian_epsilon(distance, delta)
    assert delta_of(epsilon, distance) == pytest.approx(delta, rel=1e-4)


def test_hardly_any_distance_costs_nothing():
    assert gaussian_epsilon(1e-4, 1e-2) == 0


@pytest.mark.parametrize("epsilon", [0.1, 0.5, 0.99])
def test_noise_for_the_true_sensitivity_keeps_what_was_asked_for(epsilon):
    promised = LocalDP(1.5, sensitivity=3.0, epsilon=epsilon, delta=1e-5).guarantee()
    assert 0 < promised["epsilon"] <= epsilon
    assert promised["delta"] == 1e-5


def test_a_sensitivity_that_is_set_too_low_does_not_lower_the_true_epsilon():
    asked = LocalDP(1.0, sensitivity=2.0, epsilon=0.5).guarantee()["epsilon"]
    low = LocalDP(1.0, sensitivity=0.02, epsilon=0.5).guarantee()["epsilon"]
    assert low > 50 * asked
    assert LocalDP(1.0, sensitivity=0.0).guarantee() == {}


def test_the_attacker_estimates_noise_and_bound():
    update = [torch.zeros(20_000), torch.full((100,), 3.0)]
    sent = defend(LocalDP(10.0, sensitivity=0.01, epsilon=1.0, delta=1e-5), update)
    estimate = LocalDP().adapt(sent, None).estimate
    assert estimate["clipping_norm"] == pytest.approx(10.0, rel=0.05)
    assert estimate["noise_std"] == pytest.approx(0.01 * math.sqrt(2 * math.log(1.25e5)), rel=0.05)


@pytest.mark.parametrize(
    ("name", "value"),
    [("clipping_norm", 0), ("sensitivity", -1), ("epsilon", 0), ("delta", 0), ("delta", math.nan)],
)
def test_impossible_settings_are_refused(name, value):
    with pytest.raises(UserError, match=f"{name} of the local DP defense is {value}"):
        LocalDP(**{name: value})
