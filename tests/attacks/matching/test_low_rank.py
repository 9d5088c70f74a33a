"""Received gradients of low rank: found only where they are, and never at the cost of accuracy."""

import pytest
import torch
from torch import nn

from ggl_lightning.attacks.matching import comparison, layer_rule
from ggl_lightning.attacks.matching.low_rank import find_low_rank
from ggl_lightning.attacks.matching.update_distances import Distance, UpdateDistances
from ggl_lightning.clients import GradientUpdate
from ggl_lightning.defenses.clipping import ClipToNorm, update_norm
from tests.attacks.matching.reference import reference_distances, reference_update

SIZE = 16
PRECISIONS = [(torch.float32, 1e-4), (torch.float64, 1e-9)]
RANK_OF_DEEPEST = 4  # 2x2 positions of one image


def matrix(rank, dtype, spread=1.0):
    generator = torch.Generator().manual_seed(rank)
    left = torch.randn(60, rank, dtype=torch.float64, generator=generator)
    right = torch.randn(rank, 90, dtype=torch.float64, generator=generator)
    strengths = torch.logspace(0, torch.tensor(spread).log10().item(), rank, dtype=torch.float64)
    return ((left * strengths) @ right).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("rank", "spread"), [(1, 1.0), (5, 1.0), (12, 1.0), (5, 1e-4)])
def test_a_product_is_found_up_to_rounding(rank, spread, dtype):
    product = matrix(rank, dtype, spread)
    found = find_low_rank(product, rank + 3)
    assert found.rank == rank
    rest = product.double() - found.left @ found.right
    rounding = {torch.float32: 5e-7, torch.float64: 2e-14}[dtype]
    assert rest.norm() <= rounding * product.double().norm()
    torch.testing.assert_close(found.left.mT @ found.left, torch.eye(rank).double())


@pytest.mark.parametrize(("dtype", "part"), [(torch.float32, 1e-6), (torch.float64, 1e-13)])
def test_nothing_above_rounding_is_discarded(dtype, part):
    product = matrix(5, torch.float64)
    rest = torch.randn(product.shape, dtype=torch.float64, generator=torch.Generator())
    almost = product + part * product.norm() / rest.norm() * rest
    assert find_low_rank(almost.to(dtype), 5) is None


@pytest.mark.parametrize(
    "unsuitable",
    [
        torch.zeros(60, 90),
        torch.full((60, 90), torch.nan),
        matrix(6, torch.float32),  # of higher rank than expected
        matrix(5, torch.float32)[:13],  # hardly thinner than the matrix
        matrix(5, torch.bfloat16),
    ],
)
def test_a_matrix_without_thin_factors(unsuitable):
    assert find_low_rank(unsuitable, 5) is None


def deep(dtype, seed=0):
    """Two convolutions and a linear layer with many channels at few positions."""
    torch.manual_seed(seed)
    return (
        nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            nn.Tanh(),
            nn.Conv2d(8, 40, 3, stride=2, padding=1),
            nn.Tanh(),
            nn.Conv2d(40, 50, 3, stride=2, padding=1),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(200, 60),
        )
        .eval()
        .to(dtype)
    )


def case(model, images, dtype, noise=0.0):
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand(5, images, 3, SIZE, SIZE, dtype=dtype, generator=generator) * 2 - 1
    labels = torch.arange(images)
    received = []
    for tensor in reference_update(model, pixels[-1], labels):
        part = torch.randn(tensor.shape, dtype=torch.float64, generator=generator)
        received.append((tensor + noise * tensor.norm() / part.norm() * part).to(dtype))
    return pixels, labels, received


@pytest.fixture
def ranks(monkeypatch):
    """The ranks of received gradients that were looked at, None for full ones."""
    found = []

    def spy(tensor, rank):
        low_rank = find_low_rank(tensor, rank)
        found.append(None if low_rank is None else low_rank.rank)
        return low_rank

    monkeypatch.setattr(comparison, "find_low_rank", spy)
    return found


@pytest.mark.parametrize("distance", [Distance.l2, Distance.cosine])
@pytest.mark.parametrize("noise", [0.0, 1e-5, 1.0])
@pytest.mark.parametrize("images", [1, 2])
def test_distances_whatever_the_rank(images, noise, distance, ranks):
    for dtype, tolerance in PRECISIONS:
        model = deep(dtype)
        pixels, labels, received = case(model, images, dtype, noise)
        ranks.clear()
        distances = UpdateDistances(model, received, GradientUpdate(), None, distance)
        found = distances(pixels[:-1], labels).double()
        assert not distances.one_by_one
        assert ranks
        expected_ranks = {None} if noise else {images, images * RANK_OF_DEEPEST}
        # The check of a model's behaviour looks at an update that is low in rank whatever we got.
        assert expected_ranks <= set(ranks)
        expected = reference_distances(model, pixels[:-1], labels, received, distance)
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance / 100)


@pytest.mark.parametrize("runs_ahead", [False, True])
@pytest.mark.parametrize("clipped", [False, True])
@pytest.mark.parametrize("noise", [0.0, 1e-5])
@pytest.mark.parametrize("images", [1, 2])
def test_accurate_when_a_candidate_is_almost_the_private_image(
    images, noise, clipped, runs_ahead, ranks, monkeypatch
):
    """To 1e-3 where the distance is 1e-4 of that of an unrelated image; so on a GPU, too."""
    monkeypatch.setattr(layer_rule, "runs_ahead", lambda _: runs_ahead)
    model = deep(torch.float32)
    pixels, labels, update = case(model, images, torch.float32, noise)
    steps = torch.tensor([0.1, 0.02, 0.01, 0.005])
    near = [pixels[-1] + step * pixels[1] for step in steps]
    candidates = torch.stack([pixels[0], *near])
    adaptation = ClipToNorm(update_norm(update).item() / 3) if clipped else None
    received = update if adaptation is None else adaptation(update)
    distances = UpdateDistances(model, received, GradientUpdate(), adaptation)
    distances.prepare(candidates.shape[1:], False)  # whose own updates are always low in rank
    ranks.clear()
    found = distances(candidates, labels).double().sum(dim=1)
    assert (images * RANK_OF_DEEPEST in ranks) == (noise == 0)
    expected = reference_distances(
        model, candidates, labels, received, Distance.l2, adaptation
    ).sum(dim=1)
    assert expected.min() < 1e-4 * expected[0] < expected.max()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=0)


def test_gradients_with_respect_to_the_images(ranks):
    model = deep(torch.float64)
    pixels, labels, received = case(model, 2, torch.float64)
    # A subclass of the rule has no closed form.
    rules = GradientUpdate(), type("SameUpdate", (GradientUpdate,), {})()
    gradients = []
    for rule in rules:
        images = pixels[:-1].clone().requires_grad_()
        UpdateDistances(model, received, rule)(images, labels).sum().backward()
        gradients.append(images.grad)
    assert 2 * RANK_OF_DEEPEST in ranks
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)
