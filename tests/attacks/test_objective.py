import pytest
import torch
from torch.nn import functional as F

from ggl_lightning.attacks.distances import UpdateDistances
from ggl_lightning.attacks.objective import Objective
from ggl_lightning.attacks.regularizers import kl_regularizer
from ggl_lightning.clients import ResNet18, client_update
from ggl_lightning.errors import UserError
from tests.tiny import TinyClient, TinyPrior


def _reference_distances(model, images, labels, received):
    """Float64, one image at a time, with nothing but backward()."""
    model = model.double()
    rows = []
    for image, label in zip(images.double(), labels, strict=True):
        model.zero_grad()
        F.cross_entropy(model(image[None]), label[None]).backward()
        rows.append(
            [
                (p.grad - y.double()).pow(2).sum().item()
                for p, y in zip(model.parameters(), received, strict=True)
            ]
        )
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("build", [TinyClient, lambda: ResNet18(width=4)])
def test_distances_equal_a_float64_loop(build):
    torch.manual_seed(0)
    model = build().eval()
    images = torch.rand(4, 3, 8, 8) * 2 - 1
    labels = torch.tensor([0, 1, 1, 0])
    received = client_update(model, images[:1] * 0.5, labels[:1])
    found = UpdateDistances(model, received)(images, labels)
    assert found.shape == (4, len(received))
    expected = _reference_distances(model, images, labels, received)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-10)


def test_distance_to_the_same_image_is_zero():
    model = TinyClient().eval()
    image, label = torch.rand(1, 3, 8, 8), torch.tensor([1])
    distances = UpdateDistances(model, client_update(model, image, label))(image, label)
    assert torch.equal(distances, torch.zeros_like(distances))


def test_training_mode_and_foreign_updates_are_refused():
    model = TinyClient()
    received = client_update(model.eval(), torch.rand(1, 3, 8, 8), torch.tensor([1]))
    with pytest.raises(UserError, match="another model"):
        UpdateDistances(model, received[:-1])
    model[1].train()
    with pytest.raises(UserError, match="eval mode"):
        UpdateDistances(model, received)


@pytest.mark.parametrize("squash", [False, True])
def test_objective_is_the_mean_over_tensors_plus_the_weighted_regulariser(squash):
    model, prior = TinyClient().eval(), TinyPrior()
    latents = prior.sample(5)
    received = client_update(model, prior(prior.sample(1)), torch.tensor([1]))
    distances = UpdateDistances(model, received)
    losses = Objective(prior, distances, label=1, kl_weight=0.7, squash=squash)(latents)
    images = prior(latents.tanh() if squash else latents)
    expected = distances(images, torch.ones(5, dtype=torch.long)).sum(1) / len(received)
    if not squash:
        expected = expected + 0.7 * kl_regularizer(latents)
    torch.testing.assert_close(losses, expected)
    assert not losses.requires_grad
