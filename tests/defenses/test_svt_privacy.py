import math

import pytest
import torch

from ggl_lightning.defenses import SVTPrivacy
from ggl_lightning.errors import UserError
from tests.defenses.updates import adapted, defend, equal

LOUD = {"epsilon": 1e9, "epsilon_release": 1e12}
"""Settings with next to no noise: the technique is then a plain threshold."""


def ramp(count=1000):
    return torch.linspace(-1, 1, count, dtype=torch.float64)


def test_without_noise_entries_above_the_threshold_are_sent_truncated():
    defense = SVTPrivacy(0.25, gamma=0.5, tau=0.4, replace=False, **LOUD)
    (sent,) = defend(defense, [ramp()])
    kept = sent != 0
    assert int(kept.sum()) == 250
    assert ramp()[kept].abs().min() >= 0.4
    torch.testing.assert_close(sent[kept], ramp()[kept].clamp(-0.5, 0.5), atol=1e-6, rtol=0)


def test_what_is_drawn_twice_is_sent_once():
    (sent,) = defend(SVTPrivacy(0.5, gamma=2.0, tau=0.0, **LOUD), [ramp(10_000)])
    # Of n accepted entries n / 2 draws leave out exp(-1 / 2).
    assert int((sent != 0).sum()) == pytest.approx(10_000 * (1 - math.exp(-0.5)), rel=0.03)


def test_gamma_and_tau_count_per_step():
    defense = SVTPrivacy(0.25, gamma=0.05, tau=0.04, replace=False, steps=10, **LOUD)
    (sent,) = defend(defense, [ramp()])
    kept = sent != 0
    torch.testing.assert_close(sent[kept], ramp()[kept].clamp(-0.5, 0.5), atol=1e-5, rtol=0)


def test_the_noise_on_what_is_sent_is_laplaces():
    defense = SVTPrivacy(0.5, gamma=1e-3, tau=0.0, epsilon=1e9, noise_var=0.1, replace=False)
    (sent,) = defend(defense, [torch.zeros(100_000, dtype=torch.float64)])
    noise = sent[sent != 0]
    assert len(noise) == 50_000
    # c * noise_var is what the release may spend: scale 2 gamma / noise_var = 0.02.
    assert noise.abs().mean().item() == pytest.approx(0.02, rel=0.02)
    assert noise.abs().median().item() == pytest.approx(0.02 * math.log(2), rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=5e-4)


def test_much_noise_chooses_blindly():
    (sent,) = defend(SVTPrivacy(0.1, epsilon=1e-6, replace=False), [ramp(20_000)])
    kept = sent.nonzero().flatten().double()
    assert kept.mean().item() == pytest.approx(10_000, rel=0.03)


def test_tensors_without_dimensions_are_sent_as_they_are():
    sent = defend(SVTPrivacy(0.5), [torch.tensor(5.0), torch.ones(10)])
    assert sent[0].item() == 5


def test_a_threshold_out_of_reach_ends():
    with pytest.raises(UserError, match=r"found 0 of 25 entries above its threshold .* lower tau"):
        defend(SVTPrivacy(0.25, gamma=0.1, tau=100.0, **LOUD), [ramp(100)])


def test_the_attacker_compares_what_was_sent():
    update = [ramp()]
    sent = defend(SVTPrivacy(0.3), update)
    adaptation = SVTPrivacy().adapt(sent, None)
    assert equal(adaptation(update), [update[0] * (sent[0] != 0)])
    assert adaptation.estimate == {"fraction": int((sent[0] != 0).sum()) / 1000}
    assert adapted(SVTPrivacy(), sent, update)[0].shape == sent[0].shape


def test_nothing_is_promised():
    assert SVTPrivacy().guarantee() == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("fraction", 0), ("fraction", 1.1), ("epsilon", 0), ("noise_var", -1), ("gamma", 0)],
        *[("tau", -1), ("epsilon_release", 0), ("steps", 0), ("epsilon_query", math.nan)],
    ],
)
def test_impossible_settings_are_refused(name, value):
    with pytest.raises(UserError, match=f"{name} of the SVT privacy defense is {value}"):
        SVTPrivacy(**{name: value})


def test_the_parts_of_epsilon_must_be_its_parts():
    SVTPrivacy(epsilon=1.0, epsilon_threshold=0.25, epsilon_query=0.75)
    SVTPrivacy(epsilon=1.0, epsilon_query=0.75)
    with pytest.raises(UserError, match="add up to epsilon 1"):
        SVTPrivacy(epsilon=1.0, epsilon_threshold=0.5, epsilon_query=0.75)
    with pytest.raises(UserError, match="must both be positive"):
        SVTPrivacy(epsilon=1.0, epsilon_threshold=2.0)
