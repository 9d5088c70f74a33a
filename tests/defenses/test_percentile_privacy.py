import math

import numpy as np
import pytest
import torch

from ggl_lightning.defenses import PercentilePrivacy
from ggl_lightning.errors import UserError
from tests.defenses.updates import AWKWARD, adapted, defend, doubles, equal, update_like


def reference(update, percentile, gamma, steps):
    arrays = [np.asarray(tensor, dtype=np.float64) / steps for tensor in update]
    cutoff = np.percentile(np.abs(np.concatenate([a.ravel() for a in arrays])), percentile)
    return [
        (np.where(np.abs(a) < cutoff, 0, a).clip(-gamma, gamma) if a.ndim else a) * steps
        for a in arrays
    ]


@pytest.mark.parametrize("percentile", [0, 10, 50, 62.5, 100])
@pytest.mark.parametrize(("gamma", "steps"), [(100.0, 1), (1.5, 1), (0.5, 4)])
def test_all_tensors_share_one_percentile(percentile, gamma, steps):
    update = doubles(*AWKWARD, [[0.3, -7.0], [0.1, 0.2]])
    sent = defend(PercentilePrivacy(percentile, gamma, steps), update)
    for tensor, expected in zip(sent, reference(update, percentile, gamma, steps), strict=True):
        np.testing.assert_allclose(tensor, expected, rtol=1e-12)


def test_by_default_small_entries_go_and_large_ones_are_truncated():
    update = [torch.linspace(0.001, 0.02, 20, dtype=torch.float64)]
    (sent,) = defend(PercentilePrivacy(), update)
    np.testing.assert_allclose(sent, [0, 0, *np.arange(3, 11) / 1000, *[0.01] * 10], atol=1e-12)


def test_tensors_without_dimensions_are_sent_as_they_are():
    update = [torch.tensor(5.0), torch.tensor([1.0, 2.0])]
    sent = defend(PercentilePrivacy(40, gamma=0.5), update)
    assert sent[0].item() == 5
    assert sent[1].tolist() == [0, 0.5]
    assert equal(adapted(PercentilePrivacy(40, gamma=0.5), sent, update), sent)


def test_the_attacker_reads_percentile_and_bound_off():
    update = update_like([torch.zeros(300, 40), torch.zeros(100)], seed=0)
    defense = PercentilePrivacy(30, gamma=0.7, steps=3)
    estimate = defense.adapt(defend(defense, update), None).estimate
    assert estimate == {"percentile": pytest.approx(30, abs=0.02), "gamma": pytest.approx(0.7)}


def test_gradient_flows_through_what_is_neither_left_out_nor_truncated():
    adaptation = PercentilePrivacy().adapt(doubles([0.0, 0.5, 2.0], [2.0]), None)
    update = torch.tensor([0.1, 1.0, -3.0], dtype=torch.float64, requires_grad=True)
    first, second = adaptation([update, torch.tensor([1.5], dtype=torch.float64)])
    assert (first.tolist(), second.tolist()) == ([0, 1, -2], [1.5])
    assert torch.autograd.grad(first.sum(), update)[0].tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("name", "value"), [("percentile", 101), ("gamma", 0), ("gamma", math.nan), ("steps", 0)]
)
def test_impossible_settings_are_refused(name, value):
    with pytest.raises(UserError, match=f"{name} of the percentile privacy defense is {value}"):
        PercentilePrivacy(**{name: value})
