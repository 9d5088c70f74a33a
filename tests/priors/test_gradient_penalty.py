import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from ggl_lightning.priors.gradient_penalty import gradient_penalty
from ggl_lightning.priors.wgan_gp_networks import WGANGPCritic


def images(n: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    noise = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, 4, 4, generator=noise, dtype=dtype) * 2 - 1


@settings(max_examples=20)
@given(scale=st.floats(0.01, 20), weight=st.floats(0.1, 100))
def test_linear_critic_has_the_norm_of_its_weights(scale, weight):
    w = (scale * images(1, seed=3).flatten()).requires_grad_()
    penalty, norms = gradient_penalty(
        lambda x: x.flatten(1) @ w, images(5), images(5, seed=1), torch.rand(5), weight
    )
    norm = w.detach().norm()
    torch.testing.assert_close(norms, norm.expand(5))
    torch.testing.assert_close(penalty, weight * (norm - 1) ** 2)
    (gradient,) = torch.autograd.grad(penalty, w)
    torch.testing.assert_close(gradient, 2 * weight * (norm - 1) * w.detach() / norm)


def test_quadratic_critic_shows_where_the_interpolates_are():
    # C(x) = a/2 ||x||^2 has gradient a x, so the norm is that of the interpolate itself.
    real, fake, mix = images(6), images(6, seed=1), torch.rand(6, dtype=torch.float64)
    a = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    penalty, norms = gradient_penalty(
        lambda x: a / 2 * x.square().flatten(1).sum(1), real, fake, mix
    )
    points = (1 - mix).view(-1, 1, 1, 1) * real + mix.view(-1, 1, 1, 1) * fake
    lengths = points.flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, 1.5 * lengths)
    torch.testing.assert_close(penalty, 10 * ((1.5 * lengths - 1) ** 2).mean())
    (gradient,) = torch.autograd.grad(penalty, a)
    torch.testing.assert_close(gradient, (20 * (1.5 * lengths - 1) * lengths).mean())


def test_double_backward_through_the_critic_matches_finite_differences():
    torch.manual_seed(0)
    # A smooth activation: finite differences across a kink would say nothing.
    critic = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Tanh(), nn.Flatten())
    critic = nn.Sequential(critic, nn.Linear(16, 1), nn.Flatten(0)).double()
    real, fake, mix = images(2), images(2, seed=1), torch.rand(2)
    names = [name for name, _ in critic.named_parameters()]

    def penalty_of(*values: torch.Tensor) -> torch.Tensor:
        parameters = dict(zip(names, values, strict=True))
        return gradient_penalty(
            lambda x: functional_call(critic, parameters, (x,)), real, fake, mix
        )[0]

    torch.autograd.gradcheck(penalty_of, tuple(critic.parameters()))


def test_mixed_precision_does_not_touch_the_penalty():
    torch.manual_seed(0)
    critic = WGANGPCritic(width=8)
    real, fake = torch.rand(4, 3, 32, 32), torch.rand(4, 3, 32, 32)
    mix = torch.rand(4)
    expected, expected_norms = gradient_penalty(critic, real, fake, mix)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert critic(real).dtype == torch.bfloat16
        penalty, norms = gradient_penalty(critic, real, fake, mix)
    assert penalty.dtype == torch.float32
    assert torch.equal(penalty, expected)
    assert torch.equal(norms, expected_norms)


def test_a_flat_critic_has_finite_gradients():
    # Norm 0: the derivative of sqrt at 0 must not become NaN.
    w = torch.zeros(48, dtype=torch.float64, requires_grad=True)
    penalty, _ = gradient_penalty(lambda x: x.flatten(1) @ w, images(3), images(3), torch.rand(3))
    assert penalty.item() == pytest.approx(10.0)
    (gradient,) = torch.autograd.grad(penalty, w)
    assert math.isfinite(gradient.sum().item())
