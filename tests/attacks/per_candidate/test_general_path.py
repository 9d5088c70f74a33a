"""Whatever has no closed form is evaluated one by one, with the same numbers, and says so once."""

import logging

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from ggl_lightning.attacks.distances import Distance, UpdateDistances
from ggl_lightning.attacks.per_candidate import population_distances
from ggl_lightning.clients import GradientUpdate, LocalSGDUpdate, client_update
from ggl_lightning.defenses.clipping import ClipToNorm
from ggl_lightning.defenses.compression import PruneLike
from ggl_lightning.defenses.representation import KeepColumns
from ggl_lightning.errors import UserError
from tests.attacks.per_candidate.reference import reference_distances
from tests.tiny import TinyClient


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.head = nn.Linear(192, 2)

    def forward(self, images):
        return self.head(self.conv(torch.tanh(self.conv(images))).flatten(1))


class WeightUsedElsewhere(Twice):
    """One call of each layer, but the convolution's weight has a second effect."""

    def forward(self, images):
        hidden = torch.tanh(self.conv(images))
        return self.head(F.conv2d(hidden, self.conv.weight, padding=1).flatten(1))


class Coupled(Twice):
    """Looks at the other images of the batch."""

    def forward(self, images):
        hidden = self.conv(images)
        return self.head((hidden - hidden.mean(dim=0)).flatten(1) + images.flatten(1))


class OwnParameter(Twice):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.7))

    def forward(self, images):
        return self.head(torch.tanh(self.scale * self.conv(images)).flatten(1))


class DoubleLinear(nn.Linear):
    def forward(self, features):
        return 2 * super().forward(features)


def shared():
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(192, 16), nn.Tanh(), nn.Linear(16, 16), nn.Linear(16, 16)
    )
    model[4].weight = model[3].weight
    return model


def chain(*layers, features=192):
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, 2))


MODELS = {
    "called twice": Twice,
    "weight used elsewhere": WeightUsedElsewhere,
    "images coupled": Coupled,
    "a parameter outside layers": OwnParameter,
    "shared weight": shared,
    "batch norm without running statistics": lambda: chain(
        nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3, track_running_stats=False)
    ),
    "batch norm without anything": lambda: chain(
        nn.Conv2d(3, 3, 3, padding=1),
        nn.BatchNorm2d(3, track_running_stats=False, affine=False),
    ),
    "weight norm": lambda: chain(parametrizations.weight_norm(nn.Conv2d(3, 3, 3, padding=1))),
    "a subclass": lambda: nn.Sequential(nn.Flatten(), DoubleLinear(192, 2)),
    "a layer without a rule": lambda: chain(nn.PReLU()),
    "images folded into rows": lambda: nn.Sequential(
        nn.Flatten(1, 2), nn.Unflatten(0, (1, -1)), nn.Linear(8, 3), nn.Flatten(0, 1),
        nn.Flatten(), nn.Linear(72, 2),
    ),
}  # fmt: skip


def problem(model, count=4, images=2):
    generator = torch.Generator().manual_seed(2)
    pixels = torch.rand(count + 1, images, 3, 8, 8, generator=generator) * 2 - 1
    labels = torch.arange(images) % 2
    return pixels[:-1], labels, client_update(model, pixels[-1], labels)


@pytest.mark.parametrize("name", MODELS)
def test_models_without_a_closed_form(name, caplog):
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    candidates, labels, received = problem(model)
    with caplog.at_level(logging.INFO):
        distances = UpdateDistances(model, received, GradientUpdate())
        found = [distances(candidates, labels) for _ in range(2)]
    assert distances.one_by_one
    assert len([r for r in caplog.records if "one by one" in r.message]) == 1
    assert torch.equal(*found)
    expected = reference_distances(model, candidates, labels, received, Distance.l2)
    torch.testing.assert_close(found[0].double(), expected, rtol=1e-4, atol=1e-6)


def test_rules_adaptations_and_distances_without_a_closed_form():
    model = TinyClient().eval()
    candidates, labels, received = problem(model)

    class Halved(ClipToNorm):
        def __call__(self, update):
            return [tensor / 2 for tensor in super().__call__(update)]

    for changed in (
        {"rule": LocalSGDUpdate(steps=2)},
        {"rule": GradientUpdate(), "distance": Distance.l1},
        {"rule": GradientUpdate(), "adaptation": PruneLike(received)},
        {"rule": GradientUpdate(), "adaptation": Halved(1.0)},
        {"rule": GradientUpdate(), "adaptation": KeepColumns(torch.ones(3, dtype=bool), 0)},
    ):
        distances = UpdateDistances(model, received, **changed)
        assert distances.one_by_one
        assert distances(candidates, labels).shape == (4, len(received))


def test_one_candidate_does_not_vouch_for_a_population():
    torch.manual_seed(0)
    model = Coupled().eval()
    candidates, labels, received = problem(model, images=1)
    distances = UpdateDistances(model, received, GradientUpdate())
    distances(candidates[:1], labels)
    assert not distances.one_by_one
    distances(candidates, labels)
    assert distances.one_by_one


@pytest.mark.parametrize("max_memory_mb", [1e-3, 0.05, 1024])
def test_a_population_in_parts(max_memory_mb, monkeypatch):
    model = TinyClient().eval()
    candidates, labels, received = problem(model, count=7)
    whole = UpdateDistances(model, received, GradientUpdate())(candidates, labels)
    sizes = []
    run = population_distances.PopulationPass.__call__

    def counted(self, images, labels):
        sizes.append(len(images))
        return run(self, images, labels)

    monkeypatch.setattr(population_distances.PopulationPass, "__call__", counted)
    distances = UpdateDistances(model, received, GradientUpdate(), max_memory_mb=max_memory_mb)
    torch.testing.assert_close(distances(candidates, labels), whole)
    assert sum(sizes[1:]) == 7  # the first pass was the check
    assert sizes[1:] == {1e-3: [1] * 7, 1024: [7]}.get(max_memory_mb, sizes[1:])


def test_memory_bound_must_be_positive():
    model = TinyClient().eval()
    with pytest.raises(UserError, match="max_memory_mb"):
        UpdateDistances(model, problem(model)[2], GradientUpdate(), max_memory_mb=0)


def test_the_callers_model_stays_as_it_is():
    model = TinyClient().eval()
    candidates, labels, received = problem(model)
    UpdateDistances(model, received, GradientUpdate())(candidates, labels)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
