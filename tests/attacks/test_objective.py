import pytest
import torch
from torch.nn import functional as F

from ggl_lightning.attacks.matching.update_distances import (
    Distance,
    UpdateDistances,
    layer_weights,
    resnet18_layer_weights,
)
from ggl_lightning.attacks.objective import Objective
from ggl_lightning.attacks.penalties import kl_regularizer
from ggl_lightning.attacks.spaces import LatentSpace
from ggl_lightning.clients import GradientUpdate, LocalSGDUpdate, ResNet18, client_update
from ggl_lightning.defenses import Adaptation
from ggl_lightning.errors import UserError
from tests.tiny import TinyClient, TinyPrior

GRADIENT = GradientUpdate()


def _reference_distances(model, candidates, labels, received, measure):
    """Float64, one candidate at a time, with nothing but backward()."""
    model = model.double()
    rows = []
    for images in candidates.double():
        model.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        pairs = zip(model.parameters(), received, strict=True)
        rows.append([measure(p.grad, y.double()) for p, y in pairs])
    return torch.tensor(rows, dtype=torch.float64)


MEASURES = {
    Distance.l2: lambda g, y: (g - y).pow(2).sum(),
    Distance.l1: lambda g, y: (g - y).abs().sum(),
    Distance.cosine: lambda g, y: 1 - F.cosine_similarity(g.flatten(), y.flatten(), dim=0),
}


@pytest.mark.parametrize("distance", list(Distance))
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("build", [TinyClient, lambda: ResNet18(width=4)])
def test_distances_equal_a_float64_loop(build, batch, distance):
    torch.manual_seed(0)
    model = build().eval()
    candidates = torch.rand(4, batch, 3, 8, 8) * 2 - 1
    labels = torch.arange(batch) % 2
    received = client_update(model, candidates[0] * 0.5, labels)
    found = UpdateDistances(model, received, GRADIENT, distance=distance)(candidates, labels)
    assert found.shape == (4, len(received))
    expected = _reference_distances(model, candidates, labels, received, MEASURES[distance])
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)


def test_cosine_of_zero_tensors():
    zero, one = torch.zeros(3), torch.ones(3)
    assert Distance.cosine(zero, zero) == 0
    assert Distance.cosine(zero, one) == Distance.cosine(one, zero) == 1
    assert Distance.cosine(one, -one) == 2


def test_distance_to_the_same_image_is_zero():
    model = TinyClient().eval()
    image, label = torch.rand(1, 3, 8, 8), torch.tensor([1])
    distances = UpdateDistances(model, client_update(model, image, label), GRADIENT)
    found = distances(image[None], label)
    assert found.shape == (1, 6 + 2)
    # Not exactly: a population's gradients may be summed in another order than one candidate's.
    assert found.max() < 1e-10


def test_training_mode_and_foreign_updates_are_refused():
    model = TinyClient()
    received = client_update(model.eval(), torch.rand(1, 3, 8, 8), torch.tensor([1]))
    with pytest.raises(UserError, match="another model"):
        UpdateDistances(model, received[:-1], GRADIENT)
    model[1].train()
    with pytest.raises(UserError, match="eval mode"):
        UpdateDistances(model, received, GRADIENT)


def test_adaptation_is_applied_to_every_candidate():
    class Halve(Adaptation):
        def __init__(self):
            self.estimate = {}

        def __call__(self, update):
            return [tensor / 2 for tensor in update]

    model = TinyClient().eval()
    candidates, labels = torch.rand(3, 1, 3, 8, 8), torch.tensor([0])
    received = [torch.zeros_like(p) for p in model.parameters()]
    plain = UpdateDistances(model, received, GRADIENT)(candidates, labels)
    halved = UpdateDistances(model, received, GRADIENT, Halve())(candidates, labels)
    torch.testing.assert_close(halved, plain / 4)


@pytest.mark.parametrize("squash", [False, True])
def test_objective_is_the_weighted_mean_over_tensors_plus_the_regulariser(squash):
    model, prior = TinyClient().eval(), TinyPrior()
    latents = prior.sample(10).unflatten(0, (5, 2))
    labels = torch.tensor([1, 0])
    received = client_update(model, prior(prior.sample(2)), labels)
    distances = UpdateDistances(model, received, GRADIENT)
    weights = torch.rand(len(received))
    space = LatentSpace(prior, squash)
    objective = Objective(space, distances, labels, weights, kl_regularizer, 0.7)
    losses = objective(latents)
    shown = latents.tanh() if squash else latents
    images = torch.stack([prior(candidate) for candidate in shown])
    torch.testing.assert_close(objective.images(latents), images)
    expected = (distances(images, labels) * weights).sum(1) / len(received)
    penalty = torch.stack([kl_regularizer(candidate).mean() for candidate in latents])
    expected = expected + 0.7 * penalty
    torch.testing.assert_close(losses, expected)
    assert not losses.requires_grad


@pytest.mark.parametrize("rule", [GRADIENT, LocalSGDUpdate(steps=3, learning_rate=0.1)])
def test_gradient_of_the_objective_agrees_with_finite_differences(rule):
    torch.manual_seed(0)
    model, prior = TinyClient().double().eval(), TinyPrior().double()
    labels = torch.tensor([1, 0])
    received = rule(model, prior(torch.randn(2, 6).double()), labels)
    objective = Objective(
        LatentSpace(prior),
        UpdateDistances(model, received, rule),
        labels,
        regularizer=kl_regularizer,
        regularizer_weight=0.1,
    )
    latents = torch.randn(2, 2, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(objective, latents, eps=1e-6, rtol=1e-4)


def test_published_layer_weights():
    weights = resnet18_layer_weights()
    assert weights.shape == (62,)
    assert weights[:6].tolist() == [1, 1, 1, 0.5, 0.5, 0.5]
    assert weights[57:].tolist() == [2**-19, 2**-19, 2**-19, 1, 1]
    assert layer_weights(False, 7) is None
    assert layer_weights([1, 0, 2], 3).tolist() == [1, 0, 2]
    with pytest.raises(UserError, match=r"62 weights.* 8 parameter tensors"):
        layer_weights(True, 8)
    with pytest.raises(UserError, match="negative"):
        layer_weights([1, -1], 2)
