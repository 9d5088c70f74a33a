"""What no rule covers takes the general path, alone, with the same numbers, and says so once."""

import logging

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from ggl_lightning.attacks.matching import candidate_gradients, general_path
from ggl_lightning.attacks.matching.micro_batching import MicroBatching
from ggl_lightning.attacks.matching.one_by_one import OneByOneDistances
from ggl_lightning.attacks.matching.update_distances import Distance, UpdateDistances
from ggl_lightning.clients import GradientUpdate, client_update
from ggl_lightning.defenses.clipping import ClipToNorm
from ggl_lightning.defenses.representation import KeepColumns
from tests.attacks.matching.reference import reference_distances


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


class Branching(OwnParameter):
    """Looks at values to decide what to do, which no vectorisation survives."""

    def forward(self, images):
        hidden = self.scale * self.conv(images)
        return self.head((hidden.tanh() if hidden.mean() < 9 else hidden).flatten(1))


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


EVERYTHING = "everything"
MODELS = {  # with the parameters that must take the general path, and only these
    "called twice": (Twice, {"conv.weight", "conv.bias"}),
    "weight used elsewhere": (WeightUsedElsewhere, {"conv.weight", "conv.bias"}),
    "images coupled": (Coupled, EVERYTHING),
    "a parameter outside layers": (OwnParameter, {"scale"}),
    "control flow by values": (Branching, {"scale"}),
    "shared weight": (shared, {"3.weight", "3.bias", "4.bias"}),
    # No bias before these: its gradient would be rounding alone.
    "batch norm without running statistics": (
        lambda: chain(
            nn.Conv2d(3, 3, 3, padding=1, bias=False),
            nn.BatchNorm2d(3, track_running_stats=False),
        ),
        EVERYTHING,
    ),
    "batch norm without anything": (
        lambda: chain(
            nn.Conv2d(3, 3, 3, padding=1, bias=False),
            nn.BatchNorm2d(3, track_running_stats=False, affine=False),
        ),
        EVERYTHING,
    ),
    "weight norm": (
        lambda: chain(parametrizations.weight_norm(nn.Conv2d(3, 3, 3, padding=1))),
        {
            "0.bias",
            "0.parametrizations.weight.original0",
            "0.parametrizations.weight.original1",
        },
    ),
    "a subclass": (
        lambda: nn.Sequential(nn.Flatten(), DoubleLinear(192, 9), nn.Linear(9, 2)),
        {"1.weight", "1.bias"},
    ),
    "a layer without a rule": (lambda: chain(nn.PReLU()), {"0.weight"}),
    "images folded into rows": (
        lambda: nn.Sequential(
            nn.Flatten(1, 2), nn.Unflatten(0, (1, -1)), nn.Linear(8, 3), nn.Flatten(0, 1),
            nn.Flatten(), nn.Linear(72, 2),
        ),
        {"2.weight", "2.bias"},
    ),
}  # fmt: skip


def problem(model, count=4, images=2):
    generator = torch.Generator().manual_seed(2)
    like = next(model.parameters())
    pixels = torch.rand(count + 1, images, 3, 8, 8, generator=generator).to(like) * 2 - 1
    labels = torch.arange(images) % 2
    return pixels[:-1], labels, client_update(model, pixels[-1], labels)


@pytest.mark.parametrize("distance", list(Distance))
@pytest.mark.parametrize("name", MODELS)
def test_only_what_has_no_rule_takes_the_general_path(name, distance, caplog):
    build, general = MODELS[name]
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-9)):
        torch.manual_seed(0)
        model = build().to(dtype).eval()
        candidates, labels, received = problem(model)
        caplog.clear()
        with caplog.at_level(logging.INFO):
            distances = UpdateDistances(model, received, GradientUpdate(), distance=distance)
            found = [distances(candidates, labels) for _ in range(2)]
        assert not distances.one_by_one
        names = {name for name, _ in model.named_parameters()}
        assert set(distances.general_parameters) == (names if general == EVERYTHING else general)
        assert len([r for r in caplog.records if "general path" in r.message]) == 1
        assert torch.equal(*found)
        expected = reference_distances(model, candidates, labels, received, distance)
        torch.testing.assert_close(
            found[0].double(), expected, rtol=tolerance, atol=1e-2 * tolerance
        )


@pytest.mark.parametrize("distance", [Distance.l2, Distance.cosine])
@pytest.mark.parametrize("name", MODELS)
def test_the_general_path_is_differentiable(name, distance):
    torch.manual_seed(0)
    model = MODELS[name][0]().double().eval()
    candidates, labels, received = problem(model)
    adaptation = ClipToNorm(0.5)
    together = UpdateDistances(model, received, GradientUpdate(), adaptation, distance)
    alone = OneByOneDistances(model, received, GradientUpdate(), adaptation, distance)
    gradients = []
    for distances in (together, alone):
        images = candidates.clone().requires_grad_()
        distances(images, labels).sum().backward()
        gradients.append(images.grad)
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


def test_columns_are_left_out_of_a_classifier_without_a_rule():
    model = nn.Sequential(nn.Flatten(), DoubleLinear(192, 2)).double().eval()
    candidates, labels, received = problem(model)
    keep = KeepColumns(torch.arange(192) % 3 == 0, 0)
    received = keep(received)
    distances = UpdateDistances(model, received, GradientUpdate(), keep)
    found = distances(candidates, labels)
    assert distances.way == "in closed form"
    expected = reference_distances(model, candidates, labels, received, Distance.l2, keep)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_a_model_that_is_never_the_same_goes_one_by_one(caplog):
    class Noisy(Twice):
        def forward(self, images):
            return super().forward(images + torch.randn_like(images))

    model = Noisy().eval()
    candidates, labels, received = problem(model)
    with caplog.at_level(logging.INFO):
        distances = UpdateDistances(model, received, GradientUpdate())
        distances(candidates, labels)
    assert distances.one_by_one
    assert "not the same each time" in caplog.text


def test_one_candidate_does_not_vouch_for_a_population():
    torch.manual_seed(0)
    model = Coupled().eval()
    candidates, labels, received = problem(model, images=1)
    distances = UpdateDistances(model, received, GradientUpdate())
    distances(candidates[:1], labels)
    found = distances(candidates, labels)
    expected = reference_distances(model, candidates, labels, received, Distance.l2)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)


def test_the_chosen_path_does_not_depend_on_candidates_or_the_received_update():
    """So that a resumed search takes the path of the one that was interrupted."""
    torch.manual_seed(0)
    model = OwnParameter().eval()
    candidates, labels, received = problem(model)
    zero = [torch.zeros_like(tensor) for tensor in received]
    for update, images in ((received, candidates), (zero, torch.zeros_like(candidates))):
        distances = UpdateDistances(model, update, GradientUpdate())
        distances(images, labels)
        assert distances.general_parameters == ["scale"]


def test_a_confident_model_is_still_checked():
    """Where softmax saturates, the gradients of the likely label vanish, and would all agree."""
    torch.manual_seed(0)
    model = WeightUsedElsewhere().eval()
    with torch.no_grad():
        model.head.bias.copy_(torch.tensor([500.0, 0.0]))
    candidates, labels, received = problem(model, images=1)
    distances = UpdateDistances(model, received, GradientUpdate())
    distances(candidates, labels)
    assert distances.general_parameters == ["conv.bias", "conv.weight"]


def test_the_callers_model_stays_as_it_is():
    model = OwnParameter().eval()
    candidates, labels, received = problem(model)
    UpdateDistances(model, received, GradientUpdate())(candidates, labels)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("differentiable", [False, True])
def test_parts_within_the_memory_bound(differentiable, monkeypatch):
    model = OwnParameter().eval()
    candidates, labels, received = problem(model, count=7)
    candidates.requires_grad_(differentiable)
    whole = UpdateDistances(model, received, GradientUpdate())
    expected = whole(candidates, labels)
    each = whole.bytes_per_candidate(candidates.shape[1:], differentiable)
    sizes = []
    run = candidate_gradients.PopulationPass.__call__

    def counted(self, layers, images, labels, visit):
        sizes.append(len(images))
        return run(self, layers, images, labels, visit)

    monkeypatch.setattr(candidate_gradients.PopulationPass, "__call__", counted)
    for fitting, parts in ((0.1, [1] * 7), (3.5, [3, 2, 2]), (6.9, [4, 3]), (100, [7])):
        evaluation = MicroBatching(max_memory_mb=fitting * each / 2**20)
        distances = UpdateDistances(model, received, GradientUpdate(), evaluation=evaluation)
        distances.prepare(candidates.shape[1:])
        sizes.clear()
        torch.testing.assert_close(distances(candidates, labels), expected)
        assert sizes == parts


def test_large_gradients_are_vectorised_a_few_at_a_time_on_the_cpu(monkeypatch):
    model = chain(nn.Linear(8, 8), DoubleLinear(8, 8)).double().eval()
    candidates, labels, received = problem(model, count=7)
    expected = UpdateDistances(model, received, GradientUpdate())(candidates, labels)
    monkeypatch.setattr(general_path, "_ENTRIES_AT_ONCE", 3 * 72)
    sizes = []
    run = general_path.GeneralGradients._together

    def counted(self, images, labels):
        sizes.append(len(images))
        return run(self, images, labels)

    monkeypatch.setattr(general_path.GeneralGradients, "_together", counted)
    distances = UpdateDistances(model, received, GradientUpdate())
    distances.prepare(candidates.shape[1:])
    sizes.clear()
    torch.testing.assert_close(distances(candidates, labels), expected)
    assert sizes == [3, 3, 1]
