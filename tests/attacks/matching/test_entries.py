"""What needs all entries of the candidates' updates: equal to the loop, in bounded parts."""

import logging

import pytest
import torch
from torch import nn

from ggl_lightning.attacks.matching import (
    candidate_gradients,
    convolution,
    layer_rule,
)
from ggl_lightning.attacks.matching.micro_batching import MicroBatching
from ggl_lightning.attacks.matching.one_by_one import OneByOneDistances
from ggl_lightning.attacks.matching.update_distances import Distance, UpdateDistances
from ggl_lightning.clients import GradientUpdate
from ggl_lightning.defenses.clipping import ClipToNorm, update_norm
from ggl_lightning.defenses.compose import AdaptInOrder
from ggl_lightning.defenses.compression import Compression, PruneLike
from ggl_lightning.defenses.quantization import RoundToLevels
from ggl_lightning.defenses.representation import KeepColumns
from ggl_lightning.defenses.sign import TakeSign
from tests.attacks.matching.reference import reference_distances, reference_update
from tests.attacks.matching.test_general_path import OwnParameter, problem
from tests.tiny import TinyClient


class Halved(ClipToNorm):
    """A subclass, of which nothing is known."""

    def __call__(self, update):
        return [tensor / 2 for tensor in super().__call__(update)]


def adaptations(update):
    pruned = Compression(60)(update, None)
    norm = update_norm(update).item()
    last = next(i for i in reversed(range(len(update))) if update[i].dim() == 2)
    first = next((i for i, tensor in enumerate(update) if tensor.dim() == 4), 0)
    keep = KeepColumns(torch.arange(update[last].shape[1]) % 3 != 0, last)
    return {
        "compression": PruneLike(pruned),
        "sign": TakeSign(),
        "quantisation": RoundToLevels(4),
        "a subclass": Halved(norm / 2),
        "columns of a convolution": KeepColumns(torch.tensor([True, False, True]), first),
        "clipped, then compressed": AdaptInOrder(
            {"0": ClipToNorm(norm / 3), "1": keep, "2": PruneLike(pruned)}
        ),
        "compressed, then clipped": AdaptInOrder(
            {"0": PruneLike(pruned), "1": ClipToNorm(norm / 9)}
        ),
        "nothing": None,
    }


class OwnParameterOfThree(OwnParameter):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(192, 3)


# Of two classes, the classifier's rows would be each other's negative, and rounding would say which
# of two equal magnitudes a percentile lies above.
MODELS = {"rules": lambda: TinyClient(3), "one parameter without": OwnParameterOfThree}


@pytest.mark.parametrize("distance", list(Distance))
@pytest.mark.parametrize("model_name", MODELS)
@pytest.mark.parametrize("name", adaptations([torch.ones(2, 3)]))
def test_every_adaptation_with_every_distance(name, model_name, distance):
    torch.manual_seed(0)
    model = MODELS[model_name]().double().eval()
    candidates, labels, update = problem(model)
    adaptation = adaptations(update)[name]
    received = update if adaptation is None else adaptation(update)
    distances = UpdateDistances(model, received, GradientUpdate(), adaptation, distance)
    found = distances(candidates, labels)
    closed = adaptation is None and distance is not Distance.l1
    assert distances.way == ("in closed form" if closed else "from all entries of their updates")
    expected = reference_distances(model, candidates, labels, received, distance, adaptation)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("model_name", MODELS)
def test_updates_in_float32(model_name):
    """What an adaptation that jumps is given; what it returns may differ where it jumps."""
    torch.manual_seed(0)
    model = MODELS[model_name]().eval()
    candidates, labels, received = problem(model)
    gradients = candidate_gradients.CandidateGradients(model, received)
    gradients.check(candidates.shape[1:], False)
    found = gradients.gradients(candidates, labels)
    for position, images in enumerate(candidates):
        for ours, theirs in zip(found, reference_update(model, images, labels), strict=True):
            assert (ours[position].double() - theirs).norm() <= 1e-5 * theirs.norm()


@pytest.mark.parametrize("distance", list(Distance))
@pytest.mark.parametrize(
    "name", ["compression", "sign", "quantisation", "clipped, then compressed"]
)
@pytest.mark.parametrize("model_name", MODELS)
def test_gradients_with_respect_to_the_images(model_name, name, distance):
    torch.manual_seed(0)
    model = MODELS[model_name]().double().eval()
    candidates, labels, update = problem(model)
    adaptation = adaptations(update)[name]
    arguments = (model, adaptation(update), GradientUpdate(), adaptation, distance)
    gradients = []
    for distances in (UpdateDistances(*arguments), OneByOneDistances(*arguments)):
        images = candidates.clone().requires_grad_()
        distances(images, labels).sum().backward()
        gradients.append(images.grad)
    assert gradients[1].any()
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


def test_it_is_said_once_that_entries_are_needed(caplog):
    model = TinyClient().eval()
    candidates, labels, received = problem(model)
    evaluation = MicroBatching()
    with caplog.at_level(logging.INFO):
        for _case in range(3):
            distances = UpdateDistances(
                model, received, GradientUpdate(), TakeSign(), evaluation=evaluation
            )
            distances(candidates, labels)
    assert len([r for r in caplog.records if "the adaptation is TakeSign" in r.message]) == 1
    assert len(caplog.records) == 2  # and the size of the parts


def test_full_updates_stay_within_the_memory_bound(monkeypatch):
    """Of an adaptation that needs all tensors at once."""
    model = TinyClient().eval()
    candidates, labels, received = problem(model, count=8)
    parameters = sum(tensor.nbytes for tensor in received)
    adaptation = Halved(1.0)
    distances = UpdateDistances(model, received, GradientUpdate(), adaptation)
    each = distances.bytes_per_candidate(candidates.shape[1:], False)
    assert each >= 2 * parameters
    held = []
    run = candidate_gradients.CandidateGradients.gradients

    def counted(self, images, labels):
        found = run(self, images, labels)
        held.append(sum(tensor.nbytes for tensor in found))
        return found

    monkeypatch.setattr(candidate_gradients.CandidateGradients, "gradients", counted)
    bound = 3.2 * each
    evaluation = MicroBatching(max_memory_mb=bound / 2**20)
    bounded = UpdateDistances(model, received, GradientUpdate(), adaptation, evaluation=evaluation)
    torch.testing.assert_close(bounded(candidates, labels), distances(candidates, labels))
    assert held[:3] == [3 * parameters, 3 * parameters, 2 * parameters]
    assert max(held[:3]) < bound


def test_tensors_that_are_adapted_by_themselves_are_never_all_held(monkeypatch):
    model = TinyClient().eval()
    candidates, labels, received = problem(model, count=8)
    monkeypatch.setattr(layer_rule, "_ENTRIES_AT_ONCE", 600)
    monkeypatch.setattr(convolution, "_WORK_AT_ONCE", 1)
    largest = 0

    class Watched(TakeSign):
        def adapt_tensor(self, tensor, index):
            nonlocal largest
            largest = max(largest, tensor._base.numel() if tensor._is_view() else tensor.numel())
            return super().adapt_tensor(tensor, index)

    UpdateDistances(model, received, GradientUpdate(), Watched())(candidates, labels)
    assert 0 < largest <= 600


def test_a_procedure_that_is_known_by_calling_it_only_goes_one_by_one():
    model = TinyClient().eval()
    candidates, labels, received = problem(model)
    rule = type("OwnRule", (GradientUpdate,), {})()
    distances = UpdateDistances(model, received, rule)
    assert distances.one_by_one
    assert distances(candidates, labels).shape == (4, len(received))
