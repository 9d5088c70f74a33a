import pytest
import torch

from ggl_lightning.attacks.learned.noise import noise_level


def gradient(rows, columns, rank, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, rank, generator=generator) @ torch.randn(
        rank, columns, generator=generator
    )


@pytest.mark.parametrize("std", [0.01, 1.0, 100.0])
def test_the_level_of_noise_around_a_gradient_of_low_rank(std):
    true = gradient(60, 200, 9).unflatten(1, (8, 5, 5))
    noise = torch.Generator().manual_seed(1)
    received = true + std * torch.randn(true.shape, generator=noise)
    assert noise_level([(received, 9)]) == pytest.approx(std, rel=0.03)


@pytest.mark.parametrize("amplitude", [0, 0.03, 0.3, 3])
def test_a_signal_that_noise_hides_does_not_make_the_noise_look_quieter(amplitude):
    """A quarter of the directions could be the gradient's, as in a narrow client model."""
    noise, levels = torch.Generator().manual_seed(1), []
    for seed in range(4):
        received = amplitude * gradient(64, 576, 16, seed) / 4
        received = received + torch.randn(received.shape, generator=noise)
        levels.append(noise_level([(received, 16)]))
    assert sum(levels) / 4 == pytest.approx(1, rel=0.03)


def test_without_noise_the_rest_is_rounding():
    assert noise_level([(gradient(60, 200, 9), 9)]) == 0


def test_what_tells_nothing_is_left_out():
    noise = torch.Generator().manual_seed(1)
    full = gradient(9, 200, 9) + torch.randn(9, 200, generator=noise)
    assert noise_level([(full, 9)]) is None
    low = gradient(60, 200, 9) + torch.randn(60, 200, generator=noise)
    assert noise_level([(full, 9), (low, 9)]) == noise_level([(low, 9)])
    assert noise_level([]) is None
