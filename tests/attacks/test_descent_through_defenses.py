"""Adam descends through every defense's adaptive form, however its distances are computed."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from ggl_lightning.attacks import GenerativeGradientLeakage, Progress, Target
from ggl_lightning.attacks.matching.update_distances import UpdateDistances
from ggl_lightning.attacks.searches import AdamSearch
from ggl_lightning.clients import GradientUpdate, client_update
from ggl_lightning.defenses import (
    DPSGD,
    Clipping,
    Compose,
    Compression,
    ExcludeVars,
    GaussianPrivacy,
    LayerwiseClipping,
    LocalDP,
    NoDefense,
    Noise,
    PercentilePrivacy,
    Quantization,
    Representation,
    Sign,
    SVTPrivacy,
)
from tests.tiny import TinyImages, TinyPrior, client_side, received

DEFENSES = [
    NoDefense(),
    Noise(0.01),
    Clipping(0.3),
    LayerwiseClipping(0.1),
    Compression(70),
    Representation(50),
    DPSGD(0.3, noise_multiplier=1e-4),
    Sign(),
    Quantization(4),
    Quantization(4, stochastic=True),
    LocalDP(0.3, sensitivity=1e-4),
    PercentilePrivacy(60, gamma=0.05),
    GaussianPrivacy(0.01),
    ExcludeVars("^0"),
    SVTPrivacy(0.9, gamma=1.0, epsilon=1e9, epsilon_release=1e9, replace=False),
    Compose([Compression(50), Clipping(0.3)]),
]


def ident(defense):
    return f"{type(defense).__name__}_{getattr(defense, 'stochastic', '')}"


def _client(dtype=torch.float32):
    private, label = TinyImages().dataset("test")[0]
    # With two classes the last layer's gradients come in pairs of one magnitude: of such ties
    # compression keeps whichever rounding says.
    base = client_side(num_classes=5)
    return dataclasses.replace(
        base, model=base.model.to(dtype), images=private[None].to(dtype), labels=label[None]
    )


@pytest.mark.parametrize("defense", DEFENSES, ids=ident)
def test_gradient_with_respect_to_images_is_that_of_a_plain_loop(defense):
    """Against one candidate at a time, in float64, with nothing of the objective's machinery."""
    client = _client(torch.float64)
    model = client.model
    update = client_update(model, client.images, client.labels)
    received = defense(update, client)
    adaptation = defense.adapt(received, client.classifier)
    generator = torch.Generator().manual_seed(1)
    candidates = torch.rand(3, 1, 3, 8, 8, generator=generator, dtype=torch.float64) * 2 - 1
    candidates.requires_grad_()
    distances = UpdateDistances(model, received, GradientUpdate(), adaptation)
    found = distances(candidates, client.labels)
    (slope,) = torch.autograd.grad(found.sum(), candidates)
    for candidate, distance, gradient in zip(candidates, found, slope, strict=True):
        image = candidate.detach().clone().requires_grad_()
        loss = F.cross_entropy(model(image), client.labels)
        ours = list(torch.autograd.grad(loss, list(model.parameters()), create_graph=True))
        if adaptation is not None:
            ours = adaptation(ours)
        squares = torch.stack([(a - b).square().sum() for a, b in zip(ours, received, strict=True)])
        torch.testing.assert_close(distance, squares, rtol=1e-8, atol=1e-12)
        (expected,) = torch.autograd.grad(squares.sum(), image)
        assert expected.abs().max() > 0
        torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-11)


@pytest.mark.parametrize("defense", DEFENSES, ids=ident)
def test_an_adaptive_adam_lowers_the_loss(defense):
    client = _client()
    update = client_update(client.model, client.images, client.labels)
    sent = received(client.model, defense(update, client), defense=defense)
    losses = []
    attack = GenerativeGradientLeakage(
        AdamSearch(restarts=2), budget=40, adaptive=True, kl_weight=0.0
    )
    found = attack.run(
        sent,
        Target(client.model, client.classifier, TinyPrior()),
        seed=0,
        progress=Progress(
            lambda hook, loop: (
                losses.append(loop.losses.min().item()) if hook == "on_round_end" else None
            )
        ),
    )
    assert found.loss < 0.7 * losses[0]
    assert found.loss <= min(losses)
