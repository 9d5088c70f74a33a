"""Generators that are no priors are told so, each in one sentence that says why."""

import pytest
import torch

from ggl_lightning.errors import UserError
from ggl_lightning.priors.validation import prior_problems
from tests.tiny import TinyPrior


class Wide(TinyPrior):
    def forward(self, latents, labels=None):
        return 3 * super().forward(latents, labels)


class Undefined(TinyPrior):
    def forward(self, latents, labels=None):
        return super().forward(latents, labels) * torch.nan


class Restless(TinyPrior):
    def forward(self, latents, labels=None):
        return super().forward(latents + torch.randn_like(latents), labels)


class Misdescribed(TinyPrior):
    def __init__(self):
        super().__init__()
        self.image_size = 16

    def forward(self, latents, labels=None):
        return (torch.tanh(latents @ self.mix) @ self.paint).tanh().unflatten(1, (3, 8, 8))


class OtherLatents(TinyPrior):
    def __init__(self):
        super().__init__()
        self.latent_shape = (7,)


class Broken(TinyPrior):
    def forward(self, latents, labels=None):
        return latents @ self.paint


class OfThreeClasses(TinyPrior):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(3, 6)

    def forward(self, latents, labels=None):
        return super().forward(latents + self.table(labels))


class Choosy(TinyPrior):
    def forward(self, latents, labels=None):
        raise UserError("no label suits.")


def _with_nan():
    prior = TinyPrior()
    prior.paint[3, 4] = torch.inf
    return prior


def test_nothing_is_said_of_a_prior():
    assert prior_problems(TinyPrior(), [0, 1]) == []
    assert prior_problems(OfThreeClasses(), [0, 2]) == []


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (Wide, ["generates values from -", "must be in [-1, 1]"]),
        (Undefined, ["generates infinite or undefined values"]),
        (Restless, ["another image each time"]),
        (Misdescribed, ["returns (2, 3, 8, 8) for 2 latents, expected (2, 3, 16, 16)"]),
        (OtherLatents, ["draws latents of shape (6,)", "latent_shape is (7,)"]),
        (Broken, ["fails on latents of shape (6,) and the labels [0, 5]"]),
        (OfThreeClasses, ["the labels [0, 5]", "IndexError"]),
        (Choosy, ["no label suits."]),
        (_with_nan, ["weights that are infinite or undefined: paint"]),
    ],
)
def test_what_is_wrong_is_one_sentence(build, words):
    (problem,) = prior_problems(build(), [0, 5])
    assert all(word in problem for word in words), problem
    assert "\n" not in problem
