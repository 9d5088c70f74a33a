import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from ggl_lightning.attacks.penalties import Regularizer, gaussian_regularizer, kl_regularizer


@given(mean=st.floats(-3, 3), std=st.floats(0.01, 3))
def test_kl_of_entries_with_known_mean_and_std(mean, std):
    # Half the entries at mean + std, half at mean - std: population std is exactly std.
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(3, 4)
    latents = (mean + std * signs).reshape(3, 2, 4)
    expected = -0.5 * (1 + math.log(std**2 + 1e-10) - mean**2 - std**2)
    torch.testing.assert_close(kl_regularizer(latents), torch.full((3,), expected).double())


def test_kl_is_smallest_for_standardised_latents():
    latents = torch.randn(5, 128, dtype=torch.float64)
    latents = (latents - latents.mean(1, True)) / latents.std(1, correction=0, keepdim=True)
    latents.requires_grad_(True)
    value = kl_regularizer(latents)
    assert value.abs().max() < 1e-9
    (slope,) = torch.autograd.grad(value.sum(), latents)
    assert slope.abs().max() < 1e-9


def test_kl_of_the_zero_latent_is_finite():
    assert kl_regularizer(torch.zeros(1, 128)).isfinite().all()


def test_gaussian_regularizer_is_the_log_density_up_to_a_constant():
    latents = torch.randn(4, 3, 5, dtype=torch.float64)
    normal = torch.distributions.Normal(torch.tensor(0.0).double(), torch.tensor(1.0).double())
    negative_log = -normal.log_prob(latents).flatten(1).mean(1)
    constant = 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(gaussian_regularizer(latents) + constant, negative_log)


def test_choice_by_name():
    latents = torch.randn(3, 7)
    assert torch.equal(Regularizer("kl")(latents), kl_regularizer(latents))
    assert torch.equal(Regularizer("gaussian")(latents), gaussian_regularizer(latents))
