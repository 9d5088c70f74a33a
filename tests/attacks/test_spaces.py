"""Search spaces: their points, starts, bounds and images."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from ggl_lightning.attacks import Target
from ggl_lightning.attacks.spaces import (
    Features,
    GeneratorWeights,
    Latents,
    LowResolution,
    Pixels,
    Reached,
)
from ggl_lightning.attacks.spaces.features import feature_layers
from ggl_lightning.attacks.spaces.l1_ball import project_to_l1_ball
from ggl_lightning.errors import UserError
from ggl_lightning.priors import ModulePrior
from tests.tiny import TinyPrior, client_side

LABELS = torch.tensor([0, 1])


def dcgan():
    """A small generator whose modules run in sequence."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.ConvTranspose2d(5, 8, 2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 6, 2, stride=2),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(6, 3, 2, stride=2),
        nn.Tanh(),
    )


class Skips(nn.Module):
    """A generator whose latent enters twice, as BigGAN's does."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(5, 192), nn.Linear(192, 192)
        self.again = nn.Linear(5, 192)

    def forward(self, latents):
        maps = self.second(self.first(latents).relu()) + self.again(latents)
        return maps.tanh().view(-1, 3, 8, 8)


def target(prior):
    side = client_side()
    return Target(side.model, side.classifier, prior)


@pytest.fixture
def sequential():
    return target(ModulePrior(dcgan(), (5, 1, 1), 8))


def reached(found, choice=None):
    """What a search of the latents may have found for two images."""
    space = (Latents() if choice is None else choice).space(found, 0, None)
    point = space.start(1, 2, torch.Generator().manual_seed(3))[0]
    return Reached(space, point, LABELS)


def test_pixels_are_their_images_and_stay_in_their_box(sequential):
    boxed, free = Pixels().space(sequential, 0, None), Pixels(box=False).space(sequential, 0, None)
    assert boxed.shape(2) == (2, 3, 8, 8)
    start = free.start(4, 2, torch.Generator().manual_seed(0))
    assert start.abs().max() > 1
    torch.testing.assert_close(
        boxed.start(4, 2, torch.Generator().manual_seed(0)), start.clamp(-1, 1)
    )
    assert torch.equal(boxed.images(start, LABELS), start)
    assert torch.equal(free.project(start), start)


def test_low_resolution_images_are_enlarged(sequential):
    space = LowResolution(4).space(sequential, 0, None)
    assert space.shape(2) == (2, 3, 2, 2)
    points = torch.full((3, 2, 3, 2, 2), 0.25)
    torch.testing.assert_close(space.images(points, LABELS), torch.full((3, 2, 3, 8, 8), 0.25))
    start = space.start(50, 2, torch.Generator().manual_seed(0))
    assert -1 <= start.min() < -0.9 < 0.9 < start.max() <= 1


def test_a_factor_must_divide_the_size_of_images(sequential):
    (problem,) = LowResolution(3).problems(sequential)
    assert "factor of LowResolution is 3" in problem
    assert "8 x 8" in problem


def test_feature_layers_end_before_the_next_weights(sequential):
    assert feature_layers(sequential.prior) == ["generator.2", "generator.4"]


def test_features_begin_where_the_stage_before_ended(sequential):
    choice = Features([2.0, 3.0])
    assert choice.stages == 3
    assert choice.problems(sequential) == []
    latents = reached(sequential, choice)
    first = choice.space(sequential, 1, latents)
    assert first.shape(2) == (2, 8, 2, 2)
    start = first.start(3, 2, torch.Generator())
    images = first.images(start, LABELS)
    for each in images:
        torch.testing.assert_close(each, latents.images())
    moved = first.project(start[0] + 1)
    second = choice.space(sequential, 2, Reached(first, moved, LABELS))
    begun = second.start(1, 2, torch.Generator())
    torch.testing.assert_close(
        second.images(begun, LABELS)[0], first.images(moved.unsqueeze(0), LABELS)[0]
    )


def test_features_stay_in_the_l1_ball_around_their_start(sequential):
    choice = Features([2.0])
    space = choice.space(sequential, 1, reached(sequential))
    start = space.start(1, 2, torch.Generator())
    far = space.project(start + torch.linspace(-1, 1, start.numel()).view(start.shape))
    sizes = (far - start).abs().flatten(2).sum(2)
    torch.testing.assert_close(sizes, torch.full((1, 2), 2.0))
    near = start + 1e-3
    torch.testing.assert_close(space.project(near), near)


def test_features_of_images_are_differentiable_and_of_their_own_image_only(sequential):
    space = Features([2.0]).space(sequential, 1, reached(sequential))
    points = space.start(2, 2, torch.Generator()).requires_grad_()
    space.images(points, LABELS)[0, 1].sum().backward()
    assert points.grad[0, 1].abs().sum() > 0
    assert points.grad[1].abs().sum() == points.grad[0, 0].abs().sum() == 0


@pytest.mark.parametrize(
    ("prior", "radii", "message"),
    [
        (lambda: ModulePrior(Skips(), (5,), 8), [1.0], "do not run in sequence"),
        (TinyPrior, [1.0], "do not run in sequence"),
        (lambda: ModulePrior(dcgan(), (5, 1, 1), 8), [1.0] * 3, "has 2 whose features"),
    ],
)
def test_features_say_when_a_prior_does_not_fit(prior, radii, message):
    (problem,) = Features(radii).problems(target(prior()))
    assert message in problem


@pytest.mark.parametrize("radii", [[], [1.0, 0.0]])
def test_bad_radii_are_refused(radii):
    with pytest.raises(UserError, match="radii"):
        Features(radii)


def test_weights_begin_at_the_priors_own_and_are_others_for_each_image(sequential):
    latents = reached(sequential)
    space = GeneratorWeights().space(sequential, 1, latents)
    start = space.start(2, 2, torch.Generator())
    assert start.shape == (2, 2, sum(each.numel() for each in sequential.prior.parameters()))
    torch.testing.assert_close(space.images(start, LABELS)[1], latents.images())
    points = start + 0.1 * torch.randn(start.shape, generator=torch.Generator().manual_seed(0))
    found = space.images(points, LABELS)
    shapes = {name: each.shape for name, each in sequential.prior.named_parameters()}
    parts = points[1, 0].split([shape.numel() for shape in shapes.values()])
    weights = {name: part.view(shapes[name]) for name, part in zip(shapes, parts, strict=True)}
    alone = functional_call(sequential.prior, weights, (latents.point[:1],))
    torch.testing.assert_close(found[1, 0], alone[0])


@given(
    st.lists(
        st.lists(st.floats(-10, 10, width=32), min_size=5, max_size=5), min_size=1, max_size=4
    ),
    st.floats(0.1, 20),
)
def test_projections_are_the_nearest_points_of_the_ball(rows, radius):
    points = torch.tensor(rows, dtype=torch.float64)
    found = project_to_l1_ball(points, radius)
    assert (found.abs().sum(1) <= radius * (1 + 1e-9)).all()
    inside = points.abs().sum(1) <= radius
    assert torch.equal(found[inside], points[inside])
    # Nearest in a convex set: no point of it lies ahead in the direction of the residual. Of a
    # linear function over the ball, the largest value is at a corner.
    residual = points - found
    corners = radius * residual.abs().amax(1)
    assert ((residual * found).sum(1) >= corners - 1e-7).all() or inside.any()
    outside = ~inside
    assert ((residual * found).sum(1)[outside] >= corners[outside] - 1e-7).all()
