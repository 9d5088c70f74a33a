import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from ggl_lightning.clients import (
    ResNet18,
    TorchvisionClassifier,
    client_update,
    find_classifier_layer,
)
from ggl_lightning.defenses import Representation
from ggl_lightning.defenses.representation import _input_of, feature_scores
from ggl_lightning.errors import UserError
from ggl_lightning.seeding import seeded
from tests.defenses.updates import doubles, equal
from tests.tiny import client_side


class HeadFirst(nn.Module):
    """Its last layer comes first in ``parameters()``, and its ReLU works in place."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(20, 3)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(192, 20), nn.ReLU(inplace=True))

    def forward(self, images):
        return self.head(self.body(images))


def _client(model, images):
    model = model.double().eval()
    private = torch.rand(images, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    private = private.double()
    return dataclasses.replace(
        client_side(images=images),
        model=model,
        images=private,
        classifier=find_classifier_layer(model, private),
    )


def _clients():
    with seeded(3):
        models = {"tiny": client_side().model, "head first": HeadFirst(), "resnet": ResNet18(3, 4)}
    return {
        f"{name}, {n} images": _client(model, n) for name, model in models.items() for n in (1, 3)
    }


CLIENTS = _clients()


def _loop_scores(client):
    """One backward pass per feature and image."""
    scores = 0.0
    for image in client.images.split(1):
        image = image.clone().requires_grad_()
        kept = []
        layer = client.classifier.layer
        handle = layer.register_forward_hook(lambda _m, args, _out, to=kept: to.append(args[0]))
        client.model(image)
        handle.remove()
        features = kept[0][0]
        norms = [
            torch.autograd.grad(feature, image, retain_graph=True)[0].norm() for feature in features
        ]
        scores = scores + np.abs(torch.stack(norms).numpy() / (features.detach().numpy() + 1e-10))
    return scores


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_scores_agree_with_a_loop_over_features_and_images(client):
    scores = feature_scores(client.model, client.classifier.layer, client.images)
    np.testing.assert_allclose(scores.numpy(), _loop_scores(client), rtol=1e-9)


def test_scores_take_a_few_batched_passes(monkeypatch):
    client = client_side()  # with 128 features
    passes = []
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: passes.append(1) or grad(*a, **k))
    feature_scores(client.model, client.classifier.layer, client.images)
    assert len(passes) == 4


@pytest.mark.parametrize("pruning_rate", [0, 10, 33, 80, 100])
@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_columns_with_low_scores_are_left_out(client, pruning_rate):
    update = client_update(client.model, client.images, client.labels)
    sent = Representation(pruning_rate)(update, client)
    scores = _loop_scores(client)
    index = client.classifier.weight_index
    expected = [tensor.clone() for tensor in update]
    expected[index][:, torch.from_numpy(scores < np.percentile(scores, pruning_rate))] = 0
    assert equal(sent, expected)


def test_ten_percent_by_default():
    with seeded(0):
        model = nn.Sequential(nn.Flatten(), nn.Linear(192, 21), nn.Sigmoid(), nn.Linear(21, 3))
    client = _client(model, images=1)
    update = client_update(client.model, client.images, client.labels)
    sent = Representation()(update, client)[client.classifier.weight_index]
    assert (sent == 0).all(dim=0).sum() == 2


def test_works_under_no_grad_and_leaves_the_parameters_alone():
    client = client_side()
    update = client_update(client.model, client.images, client.labels)
    inside = Representation(50)(update, client)
    with torch.no_grad():
        assert equal(Representation(50)(update, client), inside)
    assert all(parameter.grad is None for parameter in client.model.parameters())
    assert not client.images.requires_grad


def test_a_last_layer_with_several_vectors_per_image():
    class Pixelwise(nn.Sequential):
        def forward(self, images):
            return super().forward(images.flatten(2).transpose(1, 2)).mean(dim=1)

    client = _client(Pixelwise(nn.Linear(3, 5), nn.Sigmoid(), nn.Linear(5, 2)), images=2)
    scores = feature_scores(client.model, client.classifier.layer, client.images)
    weight, bias = (p.detach().numpy() for p in list(client.model.parameters())[:2])
    pixels = client.images.flatten(2).transpose(1, 2).numpy()
    features = 1 / (1 + np.exp(-(pixels @ weight.T + bias)))  # (2, 64, 5)
    # A feature of a pixel depends on that pixel alone.
    norms = features * (1 - features) * np.linalg.norm(weight, axis=1)
    np.testing.assert_allclose(scores.numpy(), (norms / features).sum((0, 1)), rtol=1e-6)
    update = client_update(client.model, client.images, client.labels)
    sent = Representation(50)(update, client)[client.classifier.weight_index]
    pruned = scores.numpy() < np.percentile(scores.numpy(), 50)
    assert ((sent == 0).all(dim=0).numpy() == pruned).all()


@pytest.mark.parametrize("name", ["vit_b_32", "convnext_tiny", "googlenet", "mnasnet0_5"])
def test_torchvisions_other_families_can_be_differentiated_in_batches(name):
    """Batched backward passes need a rule for every operation of the model."""
    size = 32 if name != "googlenet" else 64
    with seeded(0):
        model = TorchvisionClassifier(name, num_classes=3, image_size=size).eval()
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    layer = find_classifier_layer(model, image).layer
    image.requires_grad_()
    features = _input_of(layer, model, image)
    batch = torch.eye(4, features.shape[1]).unsqueeze(1)  # a few are enough to see
    (together,) = torch.autograd.grad(
        features, image, batch, retain_graph=True, is_grads_batched=True
    )
    for row, found in zip(batch, together, strict=True):
        (alone,) = torch.autograd.grad(features, image, row, retain_graph=True)
        torch.testing.assert_close(found, alone, rtol=1e-3, atol=1e-6)


def test_the_attacker_keeps_columns_that_are_nonzero_in_any_row():
    classifier = CLIENTS["head first, 1 images"].classifier
    received = doubles([[0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]], [1.0])
    adaptation = Representation().adapt(received, classifier)
    assert adaptation.estimate == {"pruning_rate": 50.0}
    candidate = doubles([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]], [9.0])
    weight = candidate[0].requires_grad_()
    masked = adaptation(candidate)
    assert equal(masked, doubles([[0, 2.0, 0, 4.0], [0, 6.0, 0, 8.0]], [9.0]))
    (gradient,) = torch.autograd.grad(masked[0].square().sum(), weight)
    assert gradient.tolist() == [[0, 4, 0, 8], [0, 12, 0, 16]]


@pytest.mark.parametrize("rate", [-0.1, 101, math.nan])
def test_impossible_pruning_rate_is_refused(rate):
    with pytest.raises(UserError, match=f"pruning_rate .* is {rate}.*between 0 and 100"):
        Representation(rate)
