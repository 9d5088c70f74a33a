import itertools

import pytest
import torch

from ggl_lightning.clients.procedures import (
    ClientAdam,
    ClientSGD,
    ClientState,
    HorizontalFlip,
    ListedRates,
    LocalStep,
    LocalTraining,
    Order,
    PlainGradient,
    first_order,
    mean_over_orders,
    sample_orders,
)
from ggl_lightning.errors import UserError
from ggl_lightning.seeding import seeded
from tests.clients.procedures.training_loops import MLP, batch, client_net


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("procedure", "free"),
    [
        (PlainGradient(), True),
        (LocalTraining(), True),
        (LocalTraining(batch_size=9, epochs=3), True),
        (LocalTraining(batch_size=4, shuffle=False), True),
        (LocalTraining(batch_size=4), False),
        (LocalTraining(augmentations=[HorizontalFlip()]), False),
    ],
)
def test_orders_are_drawn_where_they_matter(procedure, free):
    model, (images, labels) = client_net(dtype=torch.float64), batch(dtype=torch.float64)
    orders = sample_orders(procedure, model, 8, 5, _generator())
    assert len(orders) == (1 if free else 5)
    state = ClientState.of(model)
    updates = [
        procedure(state, images, labels, procedure.order(8, _generator(seed))) for seed in (0, 1)
    ]
    weights = [update.tensors["fc.weight"] for update in updates]
    assert torch.allclose(*weights, rtol=0, atol=1e-12) == free


def test_dropout_makes_every_order_another():
    procedure = LocalTraining()
    assert not procedure.is_order_free(client_net(dropout=0.2), 8)
    assert LocalTraining(mode="eval").is_order_free(client_net(dropout=0.2), 8)


def test_the_mean_over_orders_is_differentiable():
    state = ClientState.of(client_net(dtype=torch.float64))
    images, labels = batch(dtype=torch.float64)
    images.requires_grad_()
    procedure = LocalTraining(ClientSGD(0.1), batch_size=4)
    orders = sample_orders(procedure, state.model, 8, 3, _generator())

    def loss(order):
        update = procedure(state, images, labels, order)
        return sum(tensor.square().sum() for tensor in update.tensors.values())

    mean = mean_over_orders(loss, orders)
    torch.testing.assert_close(mean, torch.stack([loss(order) for order in orders]).mean())
    assert torch.autograd.grad(mean, images)[0].any()


@pytest.mark.parametrize("sends", ["difference", "gradient_sum"])
@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_small_steps_come_to_one_step_on_average_over_orders(sends, momentum):
    with seeded(0):
        state = ClientState.of(MLP().double())
    images, labels = batch(count=4, dtype=torch.float64)
    drawn = [Order(_pairs(each), 0) for each in itertools.permutations(range(4))]
    # Without momentum every order comes to the same.
    orders = drawn if momentum else drawn[:1]

    def relative_error(rate):
        procedure = LocalTraining(
            ClientSGD(rate, momentum=momentum, dampening=momentum / 4),
            batch_size=2,
            sends=sends,
            schedule=ListedRates([rate, rate / 2]) if momentum else None,
        )
        updates = [procedure(state, images, labels, order) for order in orders]
        mean = torch.stack([update.tensors["fc.weight"] for update in updates]).mean(0)
        one = first_order(procedure, 4)
        assert one.is_order_free(state.model, 4)
        approximate = one(state, images, labels, one.order(4, _generator()))
        assert approximate.kind == updates[0].kind
        return float((mean - approximate.tensors["fc.weight"]).norm() / mean.norm())

    large, small = relative_error(0.01), relative_error(0.001)
    assert small < 0.01
    assert large / small == pytest.approx(10, rel=0.1)  # the error falls with the rate


def _pairs(order):
    first, second = torch.tensor(order).split(2)
    return (LocalStep(first), LocalStep(second))


def test_other_optimisers_and_no_orders_are_refused():
    with pytest.raises(UserError, match="ClientAdam: only SGD"):
        first_order(LocalTraining(ClientAdam()), 8)
    with pytest.raises(UserError, match="number of sampled orders is 0"):
        sample_orders(LocalTraining(), MLP(), 8, 0, _generator())
