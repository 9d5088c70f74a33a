"""Penalties on images, against plain loops."""

import pytest
import torch
from torch import nn

from ggl_lightning.attacks import Target
from ggl_lightning.attacks.matching.image_distances import ImageDistances
from ggl_lightning.attacks.matching.micro_batching import MicroBatching
from ggl_lightning.attacks.objective import Objective
from ggl_lightning.attacks.penalties import (
    BatchNormStatistics,
    GroupConsistency,
    ImageNorm,
    TotalVariation,
    VariationNorm,
    WeightedPenalties,
)
from ggl_lightning.attacks.spaces import PixelSpace
from ggl_lightning.errors import UserError
from tests.tiny import TinyClient, TinyPrior, client_side

SHAPE = (3, 2, 3, 8, 8)


def images(requires_grad=False):
    found = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return found.requires_grad_(requires_grad)


def target(model=None, size=8):
    side = client_side()
    return Target(side.model if model is None else model, side.classifier, TinyPrior(size))


def test_total_variation_of_a_slope_is_its_steepness():
    slope = torch.linspace(-1, 1, 8).expand(*SHAPE)
    found = TotalVariation(1.0)(slope, nn.Identity(), None)
    torch.testing.assert_close(found, torch.full((3,), 2 / 7))


def test_total_variation_with_norms_equals_a_loop_over_pixels():
    given = images()
    found = TotalVariation(1.0, VariationNorm.l2)(given, nn.Identity(), None)
    for candidate, value in zip(given.double(), found, strict=True):
        total = 0.0
        for down, right in ((1, 0), (0, 1), (1, 1), (-1, 1)):
            squares = [
                (candidate[..., y + down, x + right] - candidate[..., y, x]).square().sum()
                for y in range(8)
                for x in range(8)
                if 0 <= y + down < 8 and x + right < 8
            ]
            total += torch.stack(squares).sum().sqrt()
        assert value.item() == pytest.approx(total.item(), rel=1e-5)


@pytest.mark.parametrize("penalty", [TotalVariation(1.0, VariationNorm.l2), ImageNorm(1.0)])
def test_black_images_have_finite_gradients(penalty):
    black = torch.zeros(SHAPE, requires_grad=True)
    penalty(black, nn.Identity(), None).sum().backward()
    assert black.grad.isfinite().all()


def test_the_norm_is_of_each_image():
    given = images()
    expected = given.double().square().sum(dim=(2, 3, 4)).sqrt().mean(dim=1)
    torch.testing.assert_close(ImageNorm(1.0)(given, nn.Identity(), None).double(), expected)


def test_batch_norm_statistics_are_a_candidates_own():
    model = TinyClient().eval()
    torch.manual_seed(3)
    model[1].running_mean.copy_(torch.randn(6))
    model[1].running_var.copy_(torch.rand(6) + 0.5)
    given = images(requires_grad=True)
    found = BatchNormStatistics(1.0)(given, model, None)
    for candidate, value in zip(given, found, strict=True):
        features = model[0](candidate).transpose(0, 1).flatten(1)
        mean, variance = features.mean(1), features.var(1, correction=0)
        expected = (mean - model[1].running_mean).norm() + (variance - model[1].running_var).norm()
        torch.testing.assert_close(value, expected)
    found[0].backward()
    assert given.grad[0].any()
    assert not given.grad[1:].any()
    assert not model[1]._forward_pre_hooks


def test_consistency_pulls_towards_the_mean_of_the_group_in_whatever_parts_it_is_evaluated():
    points = images()
    for together in (3, 1):
        objective = Objective(
            PixelSpace((3, 8, 8), torch.device("cpu")),
            ImageDistances(points[0], MicroBatching(None, together)),
            torch.tensor([0, 1]),
            penalties=WeightedPenalties([GroupConsistency(2.0)], nn.Identity()),
        )
        asked = points.clone().requires_grad_()
        losses = objective(asked)
        errors = (points - points[0]).square().flatten(1).mean(1)
        away = (points - points.mean(0)).flatten(1).norm(dim=1)
        torch.testing.assert_close(losses, errors + 2 * away)
        torch.testing.assert_close(objective(points), losses.detach())
        alone = objective(points[1:2])
        torch.testing.assert_close(alone, errors[1:2])
        losses.sum().backward()
        plain = points.clone().requires_grad_()
        errors = (plain - points[0]).square().flatten(1).mean(1)
        (errors + 2 * (plain - points.mean(0)).flatten(1).norm(dim=1)).sum().backward()
        torch.testing.assert_close(asked.grad, plain.grad)


@pytest.mark.parametrize(
    ("penalty", "found"),
    [
        (TotalVariation(1.0), lambda: target(size=1)),
        (GroupConsistency(1.0), target),
        (BatchNormStatistics(1.0), lambda: target(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)))),
    ],
)
def test_penalties_say_when_they_do_not_fit(penalty, found):
    (problem,) = penalty.problems(found(), population=1)
    assert type(penalty).__name__ in problem


def test_negative_weights_are_refused():
    with pytest.raises(UserError, match="weight of TotalVariation"):
        TotalVariation(-1.0)
