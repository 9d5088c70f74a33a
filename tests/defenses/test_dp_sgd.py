import dataclasses
import math
import sys
from statistics import NormalDist

import numpy as np
import pytest
import torch
from torch import nn

from ggl_lightning.clients import ResNet18, client_update, find_classifier_layer
from ggl_lightning.defenses import DPSGD, Clipping
from ggl_lightning.defenses.clipping import update_norm
from ggl_lightning.defenses.dp_sgd import per_example_gradients
from ggl_lightning.errors import UserError
from ggl_lightning.seeding import seeded
from tests.defenses.updates import equal
from tests.tiny import client_side


def _client(images, model=None):
    client = client_side(images=images)
    model = (client.model if model is None else model).double().eval()
    private = client.images.double()
    return dataclasses.replace(
        client,
        model=model,
        images=private,
        classifier=find_classifier_layer(model, private),
    )


def _gradients(client):
    """Each image's gradient, one image at a time."""
    return [
        client_update(client.model, image, label)
        for image, label in zip(client.images.split(1), client.labels.split(1), strict=True)
    ]


def _sent(defense, client):
    return defense(client_update(client.model, client.images, client.labels), client)


def _models():
    with seeded(1):
        relu = nn.Sequential(
            nn.Flatten(), nn.Linear(192, 9), nn.ReLU(inplace=True), nn.Linear(9, 2)
        )
        return {"tiny": None, "in-place ReLU": relu, "resnet": ResNet18(2, 4)}


@pytest.mark.parametrize("model", _models().values(), ids=_models())
def test_per_example_gradients_agree_with_a_loop(model):
    client = _client(3, model)
    found = per_example_gradients(client.model, client.images, client.labels)
    for i, gradients in enumerate(_gradients(client)):
        for ours, theirs in zip(found, gradients, strict=True):
            torch.testing.assert_close(ours[i], theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("count", [1, 3, 11])
def test_each_image_is_clipped_before_the_mean_is_taken(count):
    client = _client(count)
    gradients = _gradients(client)
    norms = [update_norm(gradient).item() for gradient in gradients]
    bound = 0.999 * float(np.median(norms))
    assert bound < max(norms)
    assert count == 1 or min(norms) < bound
    sent = _sent(DPSGD(bound, noise_multiplier=0), client)
    for index, tensor in enumerate(sent):
        clipped = [
            gradient[index] * min(1, bound / (norm + 1e-6))
            for gradient, norm in zip(gradients, norms, strict=True)
        ]
        torch.testing.assert_close(tensor, sum(clipped) / count, rtol=1e-9, atol=1e-12)
    assert update_norm(sent) <= bound


@pytest.mark.parametrize("count", [1, 4])
def test_noise_on_the_mean_has_the_stated_standard_deviation(count):
    client = _client(count)
    silent = _sent(DPSGD(bound=0.5, noise_multiplier=0), client)
    noisy = _sent(DPSGD(bound=0.5, noise_multiplier=3.0), client)
    noise = torch.cat([(a - b).flatten() for a, b in zip(noisy, silent, strict=True)])
    std, n = 3.0 * 0.5 / count, len(noise)
    assert abs(noise.mean().item()) < 5 * std / math.sqrt(n)
    assert noise.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * n))


def test_noise_follows_from_its_generator_alone():
    def run(seed):
        generator = torch.Generator().manual_seed(seed)
        return _sent(DPSGD(), dataclasses.replace(client_side(images=2), generator=generator))

    torch.manual_seed(1)
    first = run(3)
    torch.manual_seed(2)
    assert equal(run(3), first)
    assert not equal(run(4), first)


def test_another_update_than_the_images_gradient_is_refused():
    client = client_side(images=2)
    update = client_update(client.model, client.images, client.labels)
    for other in ([2 * tensor for tensor in update], Clipping(1e-3)(update, client)):
        with pytest.raises(UserError, match=r"plain gradient.*local steps.*before all other"):
            DPSGD()(other, client)


def test_gradients_that_nearly_cancel_are_not_taken_for_another_update():
    """In training, images' gradients may sum to less than their own rounding."""
    client = dataclasses.replace(client_side(images=12), labels=torch.arange(12) % 3 // 2)
    with torch.no_grad():  # the same features and the same logits, odds 2 to 1, for every image
        for module in client.model:
            if isinstance(module, nn.Conv2d):
                module.weight.zero_()
        client.classifier.layer.weight.zero_()
        client.classifier.layer.bias.copy_(torch.tensor([math.log(2), 0.0]))
    update = client_update(client.model, client.images, client.labels)
    mean = [
        gradients.mean(dim=0)
        for gradients in per_example_gradients(client.model, client.images, client.labels)
    ]
    apart = update_norm([a - b for a, b in zip(mean, update, strict=True)])
    assert apart > 0.01 * update_norm(update) > 0
    DPSGD(noise_multiplier=0)(update, client)


def test_the_attacker_separates_noise_and_bound_of_a_peaked_update():
    generator = torch.Generator().manual_seed(0)
    signal = torch.zeros(200, 500, dtype=torch.float64)
    signal[:3] = torch.randn(3, 500, generator=generator, dtype=torch.float64)
    signal *= 5.0 / signal.norm()
    noise = 0.01 * torch.randn(200, 500, generator=generator, dtype=torch.float64)
    adaptation = DPSGD().adapt([signal + noise], None)
    assert adaptation.estimate["noise_std"] == pytest.approx(0.01, rel=0.03)
    assert adaptation.estimate["bound"] == pytest.approx(5.0, rel=0.02)
    (clipped,) = adaptation([2 * signal])
    assert clipped.norm().item() == pytest.approx(adaptation.estimate["bound"], rel=1e-6)


def test_the_attacker_leaves_candidates_alone_when_noise_hides_the_bound():
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(40_000, generator=generator, dtype=torch.float64)
    received = [noise.clamp(-2, 2)]  # lighter tails than the estimate expects: nothing is left
    adaptation = DPSGD().adapt(received, None)
    assert adaptation.estimate["bound"] == 0
    candidate = [torch.full((40_000,), 0.01)]
    assert equal(adaptation(candidate), candidate)


def _epsilon(**parameters):
    promise = DPSGD(**parameters).guarantee()
    assert promise["delta"] == parameters["delta"]
    return promise["epsilon"]


def _exact_gaussian_epsilon(noise_multiplier, delta):
    """Balle and Wang 2018, theorem 8, solved for epsilon."""
    cdf, half = NormalDist().cdf, 0.5 / noise_multiplier

    def excess(eps):
        shift = eps * noise_multiplier
        return cdf(half - shift) - math.exp(eps) * cdf(-half - shift) - delta

    low, high = 0.0, 50.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return high


@pytest.mark.parametrize(("sigma", "steps"), [(1.0, 1), (2.0, 1), (5.0, 10), (20.0, 100)])
def test_epsilon_without_sampling_is_just_above_the_exact_one(sigma, steps):
    exact = _exact_gaussian_epsilon(sigma / math.sqrt(steps), 1e-5)
    found = _epsilon(noise_multiplier=sigma, steps=steps, delta=1e-5)
    assert exact <= found <= 1.15 * exact


def _divergence(order, q, sigma):
    """Renyi divergence of the sampled Gaussian at a whole order (Mironov et al. 2019)."""
    terms = [
        math.comb(order, k) * (1 - q) ** (order - k) * q**k * math.exp(k * (k - 1) / (2 * sigma**2))
        for k in range(order + 1)
    ]
    return math.log(sum(terms)) / (order - 1)


def test_epsilon_with_sampling_improves_on_the_published_one():
    # Abadi et al. 2016: 1.26 for q = 0.01, sigma = 4 and 10000 steps.
    q, sigma, steps, delta = 0.01, 4.0, 10_000, 1e-5
    moments_accountant = min(
        steps * _divergence(order, q, sigma) - math.log(delta) / (order - 1)
        for order in range(2, 33)
    )
    assert moments_accountant == pytest.approx(1.26, abs=0.005)
    sharper = min(  # the same divergences, converted as Balle et al. 2020 do
        steps * _divergence(order, q, sigma)
        - (math.log(delta) + math.log(order)) / (order - 1)
        + math.log((order - 1) / order)
        for order in range(2, 33)
    )
    found = _epsilon(noise_multiplier=sigma, sample_rate=q, steps=steps, delta=delta)
    assert found == pytest.approx(sharper, rel=1e-3)
    assert found < moments_accountant


def test_without_noise_nothing_is_promised():
    assert DPSGD(noise_multiplier=0).guarantee() == {}


def test_a_missing_accountant_is_named_when_it_is_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "opacus", None)
    with pytest.raises(UserError, match=r"opacus.*pip install 'ggl-lightning\[dp\]'"):
        DPSGD()
    assert DPSGD(noise_multiplier=0).guarantee() == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bound", 0),
        ("noise_multiplier", -1),
        ("noise_multiplier", math.nan),
        ("sample_rate", 0),
        ("sample_rate", 1.5),
        ("steps", 0),
        ("delta", 0),
        ("delta", 1),
    ],
)
def test_impossible_parameters_are_refused(name, value):
    with pytest.raises(UserError, match=f"{name} of the DP-SGD defense is {value}"):
        DPSGD(**{name: value})
