"""What an attacker can do who does not know in which order the client took its images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ggl_lightning.clients.procedures.base import ClientProcedure
from ggl_lightning.clients.procedures.optimizer import ClientSGD
from ggl_lightning.clients.procedures.order import Order
from ggl_lightning.clients.procedures.schedule import ListedRates
from ggl_lightning.clients.procedures.training import LocalTraining
from ggl_lightning.errors import UserError, check_positive


def sample_orders(
    procedure: ClientProcedure, model: nn.Module, count: int, n: int, generator: torch.Generator
) -> list[Order]:
    """Draws orders as the client may have; only one if all give the same update.

    Dropout's masks and the choices of augmentations are drawn with each order: an attacker does not
    know them either.

    Args:
        procedure: What the attacker believes that the client did.
        model: The client model.
        count: Number of the client's images.
        n: How many orders.
        generator: The only source of randomness; a CPU generator.

    Raises:
        UserError: If ``n`` is not positive.
    """
    check_positive("The number of sampled orders", n)
    if procedure.is_order_free(model, count):
        n = 1
    return [procedure.order(count, generator) for _ in range(n)]


def mean_over_orders(evaluate: Callable[[Order], Tensor], orders: Sequence[Order]) -> Tensor:
    """The mean loss over orders, in each of which the client may have taken its images.

    Args:
        evaluate: Losses of candidates under an order, e.g. ``(C,)``.
        orders: The orders, at least one.

    Returns:
        As one evaluation; differentiable if those are.
    """
    total = evaluate(orders[0])
    for order in orders[1:]:
        total = total + evaluate(order)
    return total / len(orders)


def first_order(procedure: LocalTraining, count: int) -> LocalTraining:
    """One step over all images that local training comes to if its steps are small.

    While the weights hardly move, ``K`` steps of SGD go, on average over their orders, where one
    step along the gradient of all images goes; its learning rate is what momentum and schedule make
    of the ``K`` rates. Without these two every order goes there. What is left out is of second
    order in the learning rate. Not small are two things: in training mode batches are normalised by
    statistics of their own, and images of smaller batches count more.

    Args:
        procedure: Local training with `ClientSGD`.
        count: Number of the client's images.

    Returns:
        A procedure whose update does not depend on the order. It sends no buffers and augments
        nothing at random.

    Raises:
        UserError: If its optimiser is another.
    """
    optimizer = procedure.optimizer
    if type(optimizer) is not ClientSGD:
        raise UserError(
            f"The client's optimiser is {type(optimizer).__name__}: only SGD's steps add up to one "
            "step. Sample orders instead."
        )
    return LocalTraining(
        ClientSGD(optimizer.learning_rate, weight_decay=optimizer.weight_decay),
        steps=1,
        shuffle=False,
        schedule=ListedRates([procedure.total_rate(count)]),
        sends=procedure.sends,
        mode=procedure.mode,
        send_buffers=False,
        loss=procedure.loss,
        label_smoothing=procedure.label_smoothing,
        augmentations=[each for each in procedure.augmentations if not each.random],
    )
