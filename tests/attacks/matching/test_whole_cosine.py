"""The cosine between updates as a whole, however candidates are evaluated."""

import pytest
import torch

from ggl_lightning.attacks.matching.distance import WholeDistance
from ggl_lightning.attacks.matching.update_distances import UpdateDistances
from ggl_lightning.clients import GradientUpdate
from ggl_lightning.clients.procedures import PlainGradient
from ggl_lightning.defenses.clipping import ClipToNorm, update_norm
from ggl_lightning.defenses.layerwise_clipping import ClipToNorms
from tests.attacks.matching.reference import reference_update
from tests.tiny import client_side

LABELS = torch.tensor([0, 1])


def setting():
    side = client_side(1, images=2)
    candidates = torch.rand(3, 2, 3, 8, 8, generator=torch.Generator().manual_seed(2)) * 2 - 1
    received = [each.float() for each in reference_update(side.model, side.images, LABELS)]
    return side.model, candidates, received


def plain(model, candidates, received, adaptation=None):
    """One candidate at a time in float64."""
    theirs = torch.cat([each.double().flatten() for each in received])
    found = []
    for images in candidates:
        update = reference_update(model, images, LABELS)
        update = update if adaptation is None else adaptation(update)
        ours = torch.cat([each.flatten() for each in update])
        found.append(1 - torch.cosine_similarity(ours, theirs, dim=0))
    return torch.stack(found).unsqueeze(1)


def clipped_tensors(received):
    return ClipToNorms([each.norm() / (2 + i) for i, each in enumerate(received)])


@pytest.mark.parametrize(
    ("build", "way"),
    [
        (lambda received: None, "in closed form"),
        (lambda received: ClipToNorm(update_norm(received) / 2), "in closed form"),
        (clipped_tensors, "in closed form"),
    ],
)
def test_it_equals_a_plain_loop(build, way):
    model, candidates, received = setting()
    adaptation = build(received)
    distances = UpdateDistances(
        model, received, GradientUpdate(), adaptation, WholeDistance.whole_cosine
    )
    found = distances(candidates, LABELS)
    assert distances.way == way
    expected = plain(model, candidates, received, adaptation)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)


def test_other_ways_give_the_same_with_gradients():
    model, candidates, received = setting()
    points = candidates.requires_grad_()
    closed = UpdateDistances(model, received, GradientUpdate(), None, WholeDistance.whole_cosine)
    expected = closed(points, LABELS)
    (slopes,) = torch.autograd.grad(expected.sum(), points)
    for way in closed._waiting:  # those that take over where there is no closed form
        other = way()
        other.prepare(candidates.shape[1:], True)
        found = (
            other.measured(points, LABELS).tensors
            if hasattr(other, "measured")
            else other(points, LABELS)
        )
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
        (gradients,) = torch.autograd.grad(found.sum(), points)
        torch.testing.assert_close(gradients, slopes, rtol=1e-3, atol=1e-6)


def test_of_the_same_images_it_is_zero_and_of_nothing_one():
    model, _, _ = setting()
    side = client_side(1, images=2)
    received = [each.float() for each in reference_update(model, side.images, LABELS)]
    distances = UpdateDistances(model, received, PlainGradient(), None, WholeDistance.whole_cosine)
    assert distances(side.images.unsqueeze(0), LABELS).item() == pytest.approx(0, abs=1e-6)
    nothing = [torch.zeros_like(each) for each in received]
    distances = UpdateDistances(model, nothing, PlainGradient(), None, WholeDistance.whole_cosine)
    assert distances(side.images.unsqueeze(0), LABELS).item() == 1
