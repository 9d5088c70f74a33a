"""Models that are no client models are told so, each in one sentence that says why."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ggl_lightning.clients import ConvNet, ResNet18, TorchvisionClassifier
from ggl_lightning.clients.validation import client_model_problems
from ggl_lightning.seeding import seeded

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


class Good(nn.Module):
    """A classifier that no other here differs from in more than one thing."""

    def __init__(self, channels=3, size=16):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, 4, 3, stride=2, padding=1), nn.ReLU())
        self.head = nn.Linear(4 * (size // 2) ** 2, 2)

    def forward(self, images):
        return self.head(self.body(images).flatten(1))


class Tuple(Good):
    def forward(self, images):
        return super().forward(images), images


class OneLogit(Good):
    def forward(self, images):
        return super().forward(images)[:, 0]


class Probabilities(Good):
    def forward(self, images):
        return super().forward(images).softmax(dim=1)


class LogProbabilities(Good):
    def forward(self, images):
        return super().forward(images).log_softmax(dim=1)


class Infinite(Good):
    def forward(self, images):
        return super().forward(images) * 1e40


class Random(Good):
    def forward(self, images):
        return F.dropout(super().forward(images))


class Coupled(Good):
    def __init__(self):
        super().__init__()
        self.body.append(nn.BatchNorm2d(4, track_running_stats=False))


class ManyHeads(Good):
    def forward(self, images):
        return super().forward(images).repeat(1, 2)


class Detached(Good):
    def forward(self, images):
        return super().forward(images).detach().requires_grad_()


class NoGradient(Good):
    @torch.no_grad()
    def forward(self, images):
        return super().forward(images)


class EndlessSlope(Good):
    def forward(self, images):
        return self.head((self.body(images) * 0).sqrt().flatten(1))


class Convolutional(Good):
    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(4, 2, 8)

    def forward(self, images):
        return self.head(self.body(images)).flatten(1)


class Misspelt(Good):
    def forward(self, images):
        return self.haed(images)


class Spare(Good):
    def __init__(self):
        super().__init__()
        self.spare = nn.Linear(3, 3)


class Tied(Good):
    def __init__(self):
        super().__init__()
        self.again = nn.Conv2d(4, 4, 1)
        self.once_more = nn.Conv2d(4, 4, 1)
        self.once_more.weight = self.again.weight

    def forward(self, images):
        return self.head(self.once_more(self.again(self.body(images))).flatten(1))


def _frozen(*parts):
    model = Good()
    for part in parts:
        getattr(model, part).requires_grad_(False)
    return model


def _with_nan():
    model = Good()
    with torch.no_grad():
        model.body[0].bias[1] = torch.nan
    return model


@pytest.mark.parametrize(
    "build",
    [
        Good,
        LogProbabilities,
        Spare,
        Tied,
        Random,
        Coupled,
        lambda: _frozen("body"),
        lambda: _frozen("head"),
        lambda: ConvNet(2, 16, width=4),
        lambda: ResNet18(2, width=4),
    ],
)
def test_nothing_is_said_of_a_client_model(build):
    with seeded(0):
        model = build()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    assert client_model_problems(model, IMAGES, largest_label=1) == []
    assert all(module.training for module in model.modules())
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (Tuple, ["Tuple returns a tuple instead of a tensor", "logits alone"]),
        (OneLogit, ["returns shape (2,) for 2 images", "(images, classes)"]),
        (Probabilities, ["returns probabilities", "leave the softmax out"]),
        (Infinite, ["infinite or undefined logits"]),
        (ManyHeads, ["returns 4 logits", "has 2 outputs"]),
        (Detached, ["passes no gradient to 'head.weight'"]),
        (NoGradient, ["passes no gradient to 'head.weight'"]),
        (EndlessSlope, ["gradients that are infinite or undefined", "body.0.weight"]),
        (Convolutional, ["must end in torch.nn.Linear", "Conv2d"]),
        (Misspelt, ["fails on images of shape (3, 16, 16)", "haed"]),
        (lambda: _frozen("body", "head"), ["nothing to train"]),
        (_with_nan, ["weights that are infinite or undefined: body.0.bias"]),
        (lambda: Good(channels=1), ["fails on", "It takes images of 1 channels"]),
        (lambda: Good(size=64), ["fails on", "It takes images of 64 pixels"]),
        (lambda: Good().double(), ["torch.float64 and images of torch.float32"]),
        (lambda: Good().half(), ["torch.float16 and images of torch.float32"]),
        (lambda: ConvNet(2, 32, width=4), ["built for images of shape (3, 32, 32)"]),
        (
            lambda: TorchvisionClassifier("alexnet", 2),
            ["alexnet needs images of at least 63", "16"],
        ),
        (
            lambda: TorchvisionClassifier("vit_b_16", 2, image_size=32),
            ["built for images of shape (3, 32, 32) and got (3, 16, 16)"],
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(build, words):
    with seeded(0):
        model = build()
    problems = client_model_problems(model, IMAGES)
    assert len(problems) == 1, problems
    assert all(word in problems[0] for word in words), problems[0]
    assert "\n" not in problems[0]


def test_too_few_classes_are_told_with_how_many_there_must_be():
    (problem,) = client_model_problems(Good(), IMAGES, largest_label=11)
    assert "labels up to 11" in problem
    assert "has 2 classes" in problem
    assert "num_classes to at least 12" in problem


def test_several_things_are_told_at_once():
    problems = client_model_problems(_frozen("body", "head"), IMAGES, largest_label=4)
    assert len(problems) == 2
