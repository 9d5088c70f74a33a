"""Simulated procedures: vectorised and one by one give the distances of a plain training loop."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ggl_lightning.attacks.matching.one_by_one import OneByOneDistances
from ggl_lightning.attacks.matching.update_distances import Distance, UpdateDistances
from ggl_lightning.clients import GradientUpdate, LocalSGDUpdate
from ggl_lightning.clients.procedures import (
    ClientSGD,
    ClientState,
    HorizontalFlip,
    LocalTraining,
    PlainGradient,
    sample_orders,
)
from ggl_lightning.clients.update import is_plain_gradient
from ggl_lightning.defenses.clipping import ClipToNorm
from ggl_lightning.seeding import seeded
from tests.tiny import TinyClient

MOMENTUM = LocalTraining(ClientSGD(0.05, momentum=0.9), epochs=2, batch_size=2)


def _model():
    with seeded(0):
        return TinyClient().double().eval()


def _problem(procedure, count=4, seed=1):
    model, generator = _model(), torch.Generator().manual_seed(seed)
    pixels = torch.rand(4, count, 3, 8, 8, generator=generator, dtype=torch.float64) * 2 - 1
    labels = torch.arange(count) % 2
    orders = sample_orders(procedure, model, count, 3, generator)
    sent = procedure(ClientState.of(model), pixels[-1], labels, orders[0])
    return model, pixels[:-1], labels, orders, sent


def _trained(model, images, labels, order):
    """The client's loop as it is usually written: what it changes, and its model afterwards."""
    trained = copy.deepcopy(model).train()
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.05, momentum=0.9)
    for step in order.steps:
        optimizer.zero_grad()
        F.cross_entropy(trained(images[step.indices]), labels[step.indices]).backward()
        optimizer.step()
    pairs = zip(trained.parameters(), model.parameters(), strict=True)
    return [(after - before).detach() for after, before in pairs], trained


@pytest.mark.parametrize("clipped", [False, True])
@pytest.mark.parametrize("distance", list(Distance))
def test_distances_are_the_mean_over_orders_of_those_of_a_plain_loop(distance, clipped):
    model, candidates, labels, orders, sent = _problem(MOMENTUM)
    received = list(sent.tensors.values())
    adaptation = ClipToNorm(0.1) if clipped else None
    distances = UpdateDistances(model, received, MOMENTUM, adaptation, distance, orders=orders)
    found = distances(candidates, labels)
    assert distances.way == "vmapped over candidates"
    for row, images in zip(found, candidates, strict=True):
        expected = 0
        for order in orders:
            ours, _ = _trained(model, images, labels, order)
            ours = ours if adaptation is None else adaptation(ours)
            pairs = zip(ours, received, strict=True)
            expected = expected + torch.stack([distance(a, b) for a, b in pairs]) / len(orders)
        # A bias before batch-norm has a gradient of rounding, which points anywhere.
        where = [0, *range(2, len(row))] if distance is Distance.cosine else slice(None)
        torch.testing.assert_close(row[where], expected[where], rtol=1e-8, atol=1e-12)


def test_batch_statistics_are_compared_with_those_of_the_sent_buffers():
    procedure = LocalTraining(ClientSGD(0.05, momentum=0.9), batch_size=2, shuffle=False)
    model, candidates, labels, orders, sent = _problem(procedure)
    received = list(sent.tensors.values())
    distances = UpdateDistances(model, received, procedure, orders=orders, buffers=sent.buffers)
    tensors, statistics = distances.measured(candidates, labels)
    assert distances.way == "vmapped over candidates"
    kept = (1 - model[1].momentum) ** 2
    for row, penalty, images in zip(tensors, statistics, candidates, strict=True):
        ours, trained = _trained(model, images, labels, orders[0])
        squares = [(a - b).square().sum() for a, b in zip(ours, received, strict=True)]
        torch.testing.assert_close(row, torch.stack(squares), rtol=1e-8, atol=1e-12)
        apart = {
            name: (buffer - sent.buffers[name]) / (1 - kept)
            for name, buffer in trained.named_buffers()
        }
        values = 2 * 64  # images times pixels
        expected = apart["1.running_mean"].square().sum()
        expected += (apart["1.running_var"] * (values - 1) / values).square().sum()
        torch.testing.assert_close(penalty, expected, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("with_buffers", [False, True])
def test_slopes_are_those_of_one_candidate_after_the_other(with_buffers):
    procedure = LocalTraining(ClientSGD(0.05, momentum=0.9), batch_size=2)
    model, candidates, labels, orders, sent = _problem(procedure)
    buffers = sent.buffers if with_buffers else None
    arguments = (model, list(sent.tensors.values()), procedure)
    together = UpdateDistances(*arguments, orders=orders, buffers=buffers)
    alone = OneByOneDistances(*arguments, None, Distance.l2, orders, buffers)
    results = []
    for distances in (together, alone):
        images = candidates.clone().requires_grad_()
        tensors, statistics = distances.measured(images, labels)
        total = tensors.sum() if statistics is None else tensors.sum() + 0.3 * statistics.sum()
        results.append([total.detach(), *torch.autograd.grad(total, images)])
    assert together.way == "vmapped over candidates"
    torch.testing.assert_close(*results, rtol=1e-7, atol=1e-10)


class ByValue(TinyClient):
    """Its control flow depends on values, which no vectorised tensor has."""

    def forward(self, images):
        logits = super().forward(images)
        return logits if logits.sum() > -1e9 else 2 * logits


def test_what_cannot_be_vectorised_goes_one_by_one_with_the_same_numbers(caplog):
    model, candidates, labels, orders, sent = _problem(MOMENTUM)
    received = list(sent.tensors.values())
    with seeded(0):
        other = ByValue().double().eval()
    with caplog.at_level("INFO"):
        alone = UpdateDistances(other, received, MOMENTUM, orders=orders)
        found = alone(candidates, labels)
    assert alone.one_by_one
    assert "one by one, since it cannot be vectorised" in caplog.text
    vmapped = UpdateDistances(model, received, MOMENTUM, orders=orders)(candidates, labels)
    torch.testing.assert_close(found, vmapped, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    "procedure",
    [
        PlainGradient(mode="train"),
        PlainGradient(label_smoothing=0.1),
        PlainGradient(loss=nn.MultiMarginLoss()),
        PlainGradient(augmentations=[HorizontalFlip()]),
        LocalTraining(steps=1, shuffle=False),
    ],
)
def test_closed_forms_serve_plain_gradients_only(procedure):
    assert not is_plain_gradient(procedure)
    model, candidates, labels, orders, sent = _problem(procedure)
    received = list(sent.tensors.values())
    distances = UpdateDistances(model, received, procedure, orders=orders[:1])
    nearest = distances(torch.cat([candidates, candidates[:1]]), labels)
    assert distances.way == "vmapped over candidates"
    torch.testing.assert_close(nearest[0], nearest[-1])
    for plain in (PlainGradient(), GradientUpdate(), PlainGradient(send_buffers=True)):
        assert is_plain_gradient(plain)
        assert UpdateDistances(model, received, plain).way == "in closed form"


@pytest.mark.parametrize("batch_size", [None, 1])
def test_local_sgd_under_its_former_name_is_local_training(batch_size):
    """The former goes one by one on a CPU, so that its results stay what they are."""
    former = LocalSGDUpdate(3, 0.1, batch_size=batch_size)
    model, candidates, labels, orders, sent = _problem(former.training, count=2)
    received = list(sent.tensors.values())
    alone = UpdateDistances(model, received, former)
    together = UpdateDistances(model, received, former.training, orders=orders)
    torch.testing.assert_close(
        alone(candidates, labels), together(candidates, labels), rtol=1e-9, atol=1e-12
    )
    assert alone.one_by_one
    assert together.way == "vmapped over candidates"


def test_a_difference_of_plain_sgd_is_its_gradient_sum_in_other_units():
    settings = {"steps": 4, "batch_size": 2, "shuffle": False}
    found = {}
    for sends in ("difference", "gradient_sum"):
        procedure = LocalTraining(ClientSGD(0.05), sends=sends, **settings)
        model, candidates, labels, orders, sent = _problem(procedure)
        distances = UpdateDistances(model, list(sent.tensors.values()), procedure, orders=orders)(
            candidates, labels
        )
        found[sends] = distances / procedure.gradient_unit(4) ** 2
        weights = dict(model.named_parameters())
        found[f"mean of {sends}"] = procedure.mean_gradient(sent.tensors, weights, 4)
    torch.testing.assert_close(found["difference"], found["gradient_sum"], rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(found["mean of difference"], found["mean of gradient_sum"])
