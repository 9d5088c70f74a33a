"""What a client does not train it does not send; what it trains in vain it sends as zeros."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ggl_lightning.attacks.matching.update_distances import Distance, UpdateDistances
from ggl_lightning.clients import GradientUpdate, LocalSGDUpdate, find_classifier_layer
from ggl_lightning.defenses import DPSGD
from ggl_lightning.defenses.base import ClientSide, Unchanged
from ggl_lightning.errors import UserError
from tests.tiny import TinyClient


class Unused(TinyClient):
    def __init__(self):
        super().__init__(num_classes=3)
        self.spare = nn.Linear(2, 2)

    def forward(self, images):
        for layer in list(self)[:-1]:
            images = layer(images)
        return images


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.Tanh())
        self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 8)
        self.two.weight = self.one.weight
        self.head = nn.Linear(8, 3)

    def forward(self, images):
        return self.head(self.two(self.one(self.stem(images)).tanh()).tanh())


def frozen_body():
    model = TinyClient(num_classes=3)
    model[0].requires_grad_(False)
    model[1].requires_grad_(False)
    return model


def frozen_in_part():
    model = TinyClient(num_classes=3)
    model[3].bias.requires_grad_(False)
    return model


MODELS = {"frozen": frozen_body, "in part": frozen_in_part, "unused": Unused, "tied": Tied}


def _built(name):
    torch.manual_seed(0)
    return MODELS[name]().eval()


def _sent(model, images, labels):
    """By backward(), for every parameter with requires_grad, None read as zeros."""
    model = copy.deepcopy(model).double()
    F.cross_entropy(model(images.double()), labels).backward()
    return [
        torch.zeros_like(p) if p.grad is None else p.grad
        for p in model.parameters()
        if p.requires_grad
    ]


@pytest.mark.parametrize("rule", [GradientUpdate(), LocalSGDUpdate(steps=1)])
@pytest.mark.parametrize("name", MODELS)
def test_the_update_is_what_backward_leaves(name, rule):
    model = _built(name)
    before = [parameter.requires_grad for parameter in model.parameters()]
    images, labels = torch.randn(2, 3, 8, 8), torch.tensor([0, 2])
    update = rule(model, images, labels)
    for ours, theirs in zip(update, _sent(model, images, labels), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-6)
        assert not ours.requires_grad
    assert [parameter.requires_grad for parameter in model.parameters()] == before


@pytest.mark.parametrize("differentiable", [False, True])
@pytest.mark.parametrize("adaptation", [None, Unchanged({})])
@pytest.mark.parametrize("name", MODELS)
def test_distances_are_exact_over_the_tensors_that_are_sent(name, adaptation, differentiable):
    model = _built(name)
    candidates, labels = torch.randn(3, 2, 3, 8, 8), torch.tensor([0, 2])
    received = GradientUpdate()(model, torch.randn(2, 3, 8, 8), labels)
    distance = Distance.l2 if adaptation is None else Distance.l1
    distances = UpdateDistances(model, received, GradientUpdate(), adaptation, distance)
    found = distances(candidates.requires_grad_(differentiable), labels)
    assert not distances.one_by_one
    assert found.shape == (3, len(received))
    for row, images in zip(found, candidates.detach(), strict=True):
        pairs = zip(_sent(model, images, labels), received, strict=True)
        power = 2 if distance is Distance.l2 else 1
        expected = torch.stack([(g - y.double()).abs().pow(power).sum() for g, y in pairs])
        torch.testing.assert_close(row.detach().double(), expected, rtol=1e-4, atol=1e-7)
    if differentiable:
        found.sum().backward()
        assert candidates.grad.isfinite().all()


def test_dp_sgd_clips_what_is_sent():
    model = _built("frozen")
    images, labels = torch.randn(2, 3, 8, 8), torch.tensor([0, 2])
    update = GradientUpdate()(model, images, labels)
    client = ClientSide(
        model, images, labels, find_classifier_layer(model, images), torch.Generator()
    )
    sent = DPSGD(bound=1e6, noise_multiplier=0)(update, client)
    for ours, theirs in zip(sent, update, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_model_without_trained_parameters_is_refused():
    model = TinyClient().requires_grad_(False)
    with pytest.raises(UserError, match="no parameter that is trained"):
        GradientUpdate()(model, torch.zeros(1, 3, 8, 8), torch.tensor([0]))
