"""How strong a defense's noise is beside what it hides: what it says is what it does."""

import pytest
import torch

from ggl_lightning.defenses import (
    DPSGD,
    Clipping,
    Compose,
    Compression,
    GaussianPrivacy,
    LayerwiseClipping,
    LocalDP,
    NoDefense,
    Noise,
    PercentilePrivacy,
    Representation,
    Sign,
    SVTPrivacy,
)
from tests.defenses.updates import defend, doubles


@pytest.mark.parametrize(
    ("defense", "expected"),
    [
        (DPSGD(bound=3.0, noise_multiplier=0.7), 0.7),
        (Compose([Clipping(2.0), Noise(0.5)]), 0.25),
        (Compose([Clipping(2.0), Compression(90), NoDefense(), Noise(0.5)]), 0.25),
        (Compose([Clipping(8.0), Clipping(2.0), LayerwiseClipping(), Noise(0.5)]), 0.25),
        (Compose([Clipping(2.0), Noise(0.5), Sign()]), 0.25),
        (Compose([Clipping(2.0), Compose([Noise(0.5), Compression(50)])]), 0.25),
        (Compose([Clipping(2.0), Noise(0.5), Clipping(0.1), Noise(0.2)]), 2.0),
        (Compose([DPSGD(noise_multiplier=0.7), Representation()]), None),
        (Compose([Clipping(2.0), Representation(), Noise(0.5)]), 0.25),
        (Compose([Noise(0.5), Clipping(2.0)]), None),
        (Compose([Clipping(2.0), Sign(), Noise(0.5)]), None),
        (Compose([LayerwiseClipping(2.0), Noise(0.5)]), None),
        (DPSGD(noise_multiplier=0), None),
        (Compose([DPSGD(bound=4.0, noise_multiplier=0), Noise(1.0)]), 0.25),
        (Compose([Clipping(2.0), Noise(0.0)]), None),
        (LocalDP(sensitivity=0.0), None),
        *((each, None) for each in (NoDefense(), Noise(1.0), Clipping(), GaussianPrivacy())),
        *((each, None) for each in (PercentilePrivacy(), SVTPrivacy(), Sign(), Compression())),
    ],
)
def test_it_is_known_where_gaussian_noise_follows_a_bounded_norm(defense, expected):
    assert defense.noise_multiplier_after(None) == (
        None if expected is None else pytest.approx(expected)
    )


def test_flowers_noise_is_measured_against_its_clipping_norm():
    defense = LocalDP(clipping_norm=2.0, sensitivity=2.0, epsilon=1.0, delta=1e-5)
    update = doubles(range(100_000))
    sent = defend(defense, update)[0]
    clipped = update[0] * (2.0 / update[0].norm())
    multiplier = defense.noise_multiplier_after(None)
    assert (sent - clipped).std().item() / 2.0 == pytest.approx(multiplier, rel=0.02)
    shorter = Compose([Clipping(0.5), defense]).noise_multiplier_after(None)
    assert shorter == pytest.approx(4 * multiplier)


@pytest.mark.parametrize("defense", [Clipping(0.3), Compression(50), LayerwiseClipping(0.2)])
def test_the_norm_that_is_promised_holds(defense):
    update = doubles([3.0, -4.0, 12.0])
    before = update[0].norm().item()
    bound = defense.norm_bound(before)
    assert torch.linalg.vector_norm(defend(defense, update)[0]).item() <= bound


def test_a_guarantee_ends_where_private_images_are_read_again():
    assert Compose([DPSGD(), Sign()]).guarantee() == DPSGD().guarantee()
    assert Compose([DPSGD(), Representation()]).guarantee() == {}
