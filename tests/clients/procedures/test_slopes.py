"""Updates are differentiable with respect to images: held against finite differences."""

import pytest
import torch
from torch import nn

from ggl_lightning.clients.procedures import (
    ClientAdam,
    ClientAdamW,
    ClientSGD,
    ClientState,
    HorizontalFlip,
    LocalTraining,
    Normalisation,
    PaddedCrop,
    PlainGradient,
    PopulationUpdates,
)
from tests.clients.procedures.training_loops import batch, client_net

PROCEDURES = {
    "gradient": PlainGradient(),
    "gradient in train mode": PlainGradient(mode="train", send_buffers=True),
    "momentum": LocalTraining(
        ClientSGD(0.3, momentum=0.9, nesterov=True, weight_decay=0.1), epochs=2, batch_size=3
    ),
    "eval": LocalTraining(ClientSGD(0.3, momentum=0.9, dampening=0.5), batch_size=2, mode="eval"),
    "frozen, sum": LocalTraining(ClientSGD(0.3), batch_size=2, mode="frozen", sends="gradient_sum"),
    "adam": LocalTraining(ClientAdam(0.1, eps=1e-3), batch_size=2),
    "adamw": LocalTraining(ClientAdamW(0.1, eps=1e-3), batch_size=2),
    "augmented": LocalTraining(
        ClientSGD(0.3),
        batch_size=2,
        augmentations=[HorizontalFlip(), PaddedCrop(1), Normalisation([0.5] * 3, [0.2] * 3)],
    ),
}


def _all_entries(update):
    tensors = [*update.tensors.values()]
    tensors += [each for each in update.buffers.values() if each.is_floating_point()]
    return torch.cat([tensor.flatten() for tensor in tensors])


@pytest.mark.parametrize("name", PROCEDURES)
def test_first_and_second_slopes(name):
    procedure = PROCEDURES[name]
    model = client_net(dtype=torch.float64, dropout=0.3)
    images, labels = batch(count=4, dtype=torch.float64)
    order = procedure.order(4, torch.Generator().manual_seed(1))
    state = ClientState.of(model)
    generator = torch.Generator().manual_seed(2)
    along = torch.randn(images.shape, generator=generator, dtype=torch.float64)
    along = along / along.norm()

    def entries(at):
        return _all_entries(procedure(state, at, labels, order))

    with torch.no_grad():
        target = entries(images) * 0.5

    def objective(at):
        return (entries(at) - target).square().sum()

    at = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(objective(at), at, create_graph=True)
    with torch.no_grad():
        numeric = _slope_along(objective, images, along)
    torch.testing.assert_close((slope.detach() * along).sum(), numeric, rtol=1e-6, atol=1e-8)

    def slope_at(at):
        at = at.detach().requires_grad_()
        return torch.autograd.grad(objective(at), at)[0]

    (curvature,) = torch.autograd.grad((slope * along).sum(), at)
    numeric = _slope_along(slope_at, images, along)
    largest = float(numeric.abs().max())
    torch.testing.assert_close(curvature, numeric, rtol=1e-5, atol=1e-6 * largest)


def _slope_along(function, at, along, step=2e-5):
    """The derivative along a direction, by central differences with Richardson's correction."""

    def central(step):
        return (function(at + step * along) - function(at - step * along)) / (2 * step)

    return (4 * central(step) - central(2 * step)) / 3


@pytest.mark.parametrize("name", PROCEDURES)
def test_a_populations_slopes_are_those_of_its_members(name):
    procedure = PROCEDURES[name]
    state = ClientState.of(client_net(dtype=torch.float64, dropout=0.3))
    images, labels = batch(count=4, candidates=3, dtype=torch.float64)
    order = procedure.order(4, torch.Generator().manual_seed(1))
    slopes = []
    for vectorise in (True, False):
        at = images.clone().requires_grad_()
        found = PopulationUpdates(procedure, state, vectorise=vectorise)(at, labels, order)
        assert (found.way == "vmapped") == vectorise, found.reason
        weights = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
        total = sum(
            (each.square().flatten(1).sum(1) * weights).sum()
            for each in (*found.update.tensors.values(), *found.update.buffers.values())
            if each.is_floating_point()
        )
        slopes.append(torch.autograd.grad(total, at)[0])
    assert slopes[0].any()
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("optimizer", [ClientAdam(0.1), ClientAdamW(0.1)])
def test_adams_slopes_are_finite_where_gradients_are_zero(optimizer):
    model = client_net(activation=nn.ReLU)
    with torch.no_grad():
        model.fc.weight[:, :16] = 0
        model.down.weight[0] = 0  # its gradient vanishes behind zero weights
        model.norm2.weight[0] = 0
        model.norm2.bias[0] = -1
    images, labels = batch()
    images.requires_grad_()
    procedure = LocalTraining(optimizer, batch_size=4)
    order = procedure.order(8, torch.Generator().manual_seed(0))
    update = procedure(ClientState.of(model), images, labels, order)
    assert (update.tensors["down.weight"][0] == 0).any() or optimizer.weight_decay
    total = sum(tensor.square().sum() for tensor in update.tensors.values())
    (slope,) = torch.autograd.grad(total, images)
    assert slope.isfinite().all()
    assert slope.any()


def test_without_slopes_nothing_keeps_a_graph():
    model, (images, labels) = client_net(), batch()
    procedure = LocalTraining(batch_size=4)
    order = procedure.order(8, torch.Generator().manual_seed(0))
    update = procedure(ClientState.of(model), images, labels, order)
    assert not any(each.requires_grad for each in update.tensors.values())
    population = PopulationUpdates(procedure, ClientState.of(model))
    found = population(images[None], labels, order).update
    assert not any(
        each.requires_grad for each in (*found.tensors.values(), *found.buffers.values())
    )
