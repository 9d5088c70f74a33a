import math

import pytest
import torch

from ggl_lightning.defenses import NoDefense, Noise
from ggl_lightning.errors import UserError
from tests.tiny import client_side


def _update():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(200, 300, generator=generator), torch.zeros(7), torch.ones(1)]


def _run(defense, update, seed=0):
    return defense(update, client_side(seed))


def test_noise_has_the_stated_distribution_and_leaves_its_input_alone():
    update = _update()
    before = [tensor.clone() for tensor in update]
    noise = _run(Noise(std=0.3), update)[0] - update[0]
    n = noise.numel()
    assert abs(noise.mean().item()) < 5 * 0.3 / math.sqrt(n)
    assert noise.std().item() == pytest.approx(0.3, rel=5 / math.sqrt(2 * n))
    for tensor, original in zip(update, before, strict=True):
        assert torch.equal(tensor, original)


def test_noise_follows_from_its_generator_alone():
    update = _update()
    torch.manual_seed(5)
    first = _run(Noise(0.1), update, seed=3)
    torch.manual_seed(6)
    again = _run(Noise(0.1), update, seed=3)
    other = _run(Noise(0.1), update, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_zero_noise_and_no_defense_send_the_update_as_it_is():
    update = _update()
    for defense in (Noise(std=0), NoDefense()):
        sent = _run(defense, update)
        assert sent is not update
        assert all(torch.equal(a, b) for a, b in zip(sent, update, strict=True))


@pytest.mark.parametrize("std", [-0.1, math.nan, math.inf])
def test_impossible_std_is_refused(std):
    with pytest.raises(UserError, match="std of the noise defense"):
        Noise(std)
