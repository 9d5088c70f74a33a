import math

import numpy as np
import pytest
import torch

from ggl_lightning.defenses import Clipping, LayerwiseClipping
from ggl_lightning.defenses.clipping import update_norm
from ggl_lightning.errors import UserError
from tests.defenses.updates import adapted, defend, doubles, equal


def test_an_update_above_the_bound_is_scaled_by_one_factor():
    update = doubles([[3.0, 0.0], [0.0, 4.0]], [12.0])  # of norm 13
    clipped = defend(Clipping(bound=4.0), update)
    for tensor, original in zip(clipped, update, strict=True):
        torch.testing.assert_close(tensor, original * (4 / (13 + 1e-6)), rtol=1e-15, atol=0)


def test_layerwise_clipping_scales_each_tensor_on_its_own():
    update = doubles([[3.0, 0.0], [0.0, 4.0]], [12.0], [0.5])  # of norms 5, 12 and 0.5
    clipped = defend(LayerwiseClipping(bound=4.0), update)
    factors = [4 / (5 + 1e-6), 4 / (12 + 1e-6), 1.0]
    for tensor, original, factor in zip(clipped, update, factors, strict=True):
        torch.testing.assert_close(tensor, original * factor, rtol=1e-15, atol=0)


@pytest.mark.parametrize("defense", [Clipping(), LayerwiseClipping()])
def test_default_bound_leaves_small_and_zero_updates_as_they_are(defense):
    small = doubles([1.0, -2.0], [[3.0]], 0.1)
    zero = doubles([0.0, 0.0], [[0.0]])
    assert equal(defend(defense, small), small)
    assert equal(defend(defense, zero), zero)
    assert equal(adapted(defense, zero, zero), zero)


def test_norm_of_many_float32_entries_is_accurate():
    tensor = torch.randn(512, 4608, generator=torch.Generator().manual_seed(0))
    exact = np.linalg.norm(tensor.numpy().astype(np.float64))
    assert update_norm([tensor]).item() == pytest.approx(exact, rel=1e-6)


def test_the_attacker_takes_the_received_norm_for_the_bound():
    classifier = None
    received = doubles([0.6, 0.0], [0.8])
    assert Clipping().adapt(received, classifier).estimate == {"bound": pytest.approx(1.0)}
    layerwise = LayerwiseClipping().adapt(received, classifier)
    assert layerwise.estimate == {"bound": pytest.approx(0.8)}
    candidate = doubles([30.0, 40.0], [0.1])
    clipped = Clipping().adapt(received, classifier)(candidate)
    assert update_norm(clipped).item() == pytest.approx(1.0, rel=1e-6)
    clipped = layerwise(candidate)
    assert clipped[0].tolist() == pytest.approx([0.36, 0.48], rel=1e-5)
    assert clipped[1].tolist() == [0.1]


@pytest.mark.parametrize("tiny", [1e-9, 1e-6, 1e-3])
def test_a_tiny_update_that_was_not_clipped_is_not_scaled_by_the_attacker(tiny):
    update = doubles([tiny, -tiny], [2 * tiny])
    for defense in (Clipping(), LayerwiseClipping()):
        assert equal(adapted(defense, defend(defense, update), update), update)


def _gradient(adaptation, update, weights):
    update = [tensor.clone().requires_grad_() for tensor in update]
    total = sum((w * t).sum() for w, t in zip(weights, adaptation(update), strict=True))
    return torch.autograd.grad(total, update)


def test_gradient_through_clipping_is_the_closed_form():
    update, weights = (
        doubles([[3.0, 0.0], [0.0, 4.0]], [12.0]),
        doubles([[1.0, 2.0], [3, 4]], [5.0]),
    )
    adaptation = Clipping().adapt(doubles([1.0], [0.0]), None)
    found = _gradient(adaptation, update, weights)
    # f(u) = c u / (n + e) with n = ||u|| = 13 and c = 1 + e; <u, w> = 79.
    e = 1e-6
    for gradient, u, w in zip(found, update, weights, strict=True):
        expected = (1 + e) * (w / (13 + e) - u * 79 / (13 * (13 + e) ** 2))
        torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("defense", [Clipping(), LayerwiseClipping()])
@pytest.mark.parametrize("values", [[0.1, 0.2], [0.0, 0.0]])
def test_gradient_below_the_bound_passes_unchanged(defense, values):
    adaptation = defense.adapt(doubles([1.0, 1.0]), None)
    assert _gradient(adaptation, doubles(values), doubles([1.0, -2.0]))[0].tolist() == [1.0, -2.0]


@pytest.mark.parametrize("defense", [Clipping, LayerwiseClipping])
@pytest.mark.parametrize("bound", [0, -1.0, math.nan, math.inf])
def test_impossible_bound_is_refused(defense, bound):
    with pytest.raises(UserError, match=rf"bound of the .*clipping defense is {bound}"):
        defense(bound)
