import pytest
import torch
from torch import nn

from ggl_lightning.attacks import Target
from ggl_lightning.attacks.analytic import FirstLinearInversion
from ggl_lightning.attacks.analytic.input_layer import find_input_layer
from ggl_lightning.clients import MLP, GradientUpdate, client_update, find_classifier_layer
from ggl_lightning.errors import UserError
from tests.tiny import TinyClient, TinyPrior, received

SHAPE = torch.Size((3, 8, 8))


class Normalised(nn.Module):
    """An MLP that normalises its images with means and deviations of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.body = MLP(num_classes=4, image_size=8, width=24, hidden_layers=2)

    def forward(self, images):
        return self.body((images - 0.3) / torch.tensor([0.2, 0.5, 2.0]).view(3, 1, 1))


def target(model, count=1):
    images = torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1)) * 2 - 1
    model = model.eval()
    return Target(model, find_classifier_layer(model, images), TinyPrior()), images


def mlp(width=24, hidden=2):
    torch.manual_seed(0)
    return MLP(num_classes=4, image_size=8, width=width, hidden_layers=hidden)


def found(goal, images, labels, change=lambda update: update):
    update = change(client_update(goal.model, images, labels))
    return FirstLinearInversion().run(received(goal.model, update, len(images)), goal, seed=0)


@pytest.mark.parametrize("model", [mlp(), mlp(hidden=0), mlp(width=400), Normalised()])
def test_one_image_is_exact(model):
    goal, images = target(model)
    answer = found(goal, images, torch.tensor([2]))
    torch.testing.assert_close(answer.images, images, rtol=0, atol=1e-4)
    assert answer.labels.tolist() == [2]
    assert FirstLinearInversion().problems(goal, 1, GradientUpdate()) == []


def test_clipping_hides_nothing():
    goal, images = target(mlp())
    answer = found(goal, images, torch.tensor([1]), lambda update: [g * 1e-3 for g in update])
    torch.testing.assert_close(answer.images, images, rtol=0, atol=1e-4)


def test_noise_costs_what_least_squares_says():
    """``d x^T + noise``: the error of a known ``d`` would be ``std^2 / ||d||^2`` per pixel."""
    goal, images = target(mlp(width=400))
    true = client_update(goal.model, images, torch.tensor([1]))
    std = 0.02 * float(true[1].norm())
    noise = torch.Generator().manual_seed(3)
    answer = found(
        goal,
        images,
        torch.tensor([1]),
        lambda update: [g + std * torch.randn(g.shape, generator=noise) for g in update],
    )
    error = (answer.images - images).square().mean()
    # The last entry, by which all is divided, is noisy too: of norm 1 beside the image's.
    assert error < 0.02**2 * (1 + float(images.square().sum())) * 1.5


def test_units_that_saw_one_image_give_it_away():
    goal, images = target(mlp(width=600, hidden=1), count=3)
    answer = found(goal, images, torch.tensor([0, 1, 2]))
    assert answer.evaluation["certain_images"] == 3
    errors = torch.cdist(answer.images.flatten(1), images.flatten(1))
    assert sorted(errors.argmin(dim=1).tolist()) == [0, 1, 2]
    assert errors.min(dim=1).values.max() < 1e-3


@pytest.mark.parametrize("hidden", [0, 1])
def test_mixtures_on_which_units_of_two_classes_agree_are_not_called_certain(hidden):
    torch.manual_seed(0)
    model = MLP(num_classes=2, image_size=8, width=60, hidden_layers=hidden)
    goal, images = target(model, count=3)
    answer = found(goal, images, torch.tensor([0, 1, 1]))
    errors = torch.cdist(answer.images.flatten(1), images.flatten(1)).min(dim=1).values
    assert answer.evaluation["certain_images"] == int((errors < 1e-2).sum())
    assert (answer.evaluation["certain_images"] == 0) == (hidden == 0)


def test_where_no_unit_is_exclusive_nothing_is_called_certain():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 40), nn.Sigmoid(), nn.Linear(40, 4))
    goal, images = target(model, count=3)
    answer = found(goal, images, torch.tensor([0, 1, 2]))
    assert answer.evaluation["certain_images"] == 0
    assert answer.images.shape == images.shape


def test_client_models_it_does_not_fit():
    goal, images = target(TinyClient())
    (problem,) = FirstLinearInversion().problems(goal, 1, GradientUpdate())
    assert "no linear layer that sees the image itself" in problem
    with pytest.raises(UserError, match="no linear layer that sees the image itself"):
        found(goal, images, torch.tensor([0]))
    without = nn.Sequential(nn.Flatten(), nn.Linear(192, 4, bias=False))
    goal, _ = target(without)
    (problem,) = FirstLinearInversion().problems(goal, 1, GradientUpdate())
    assert "has no bias that is sent" in problem


def test_a_layer_behind_others_does_not_see_the_image():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.head = nn.Linear(192, 2)

        def forward(self, images):
            return self.head(self.conv(images).flatten(1))

    assert find_input_layer(Mixed(), SHAPE) is None
    assert find_input_layer(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), SHAPE) is not None


def test_an_empty_update_says_nothing():
    goal, images = target(mlp())
    answer = found(
        goal, images, torch.tensor([1]), lambda update: [torch.zeros_like(g) for g in update]
    )
    assert not answer.images.any()
