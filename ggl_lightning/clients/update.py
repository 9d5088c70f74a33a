"""Former names of procedures, and the parameters that an update is of.

What a client computes is a `ClientProcedure`. `GradientUpdate` and `LocalSGDUpdate` are settings of
two of them under the names they had first: configurations and the keys of results know them by
these. Here, and nowhere else, is what that takes.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ggl_lightning.clients.procedures import (
    Augmentation,
    ClientProcedure,
    ClientSGD,
    ClientState,
    ClientUpdate,
    LocalTraining,
    Mode,
    Order,
    PlainGradient,
)
from ggl_lightning.clients.procedures.gradients import GradientFunction, Tensors
from ggl_lightning.clients.procedures.one_step import OneStep
from ggl_lightning.errors import UserError, check_positive

_log = logging.getLogger(__name__)

Update: TypeAlias = list[Tensor]
"""One tensor per trainable parameter of the client model: see `trainable_parameters`."""


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that a client trains, hence sends: those that are not frozen.

    Args:
        model: The client model.

    Returns:
        Parameters with ``requires_grad`` by their names, in ``model.parameters()`` order; a shared
        one once, under its first name.

    Raises:
        UserError: If there is none.
    """
    found = {name: each for name, each in model.named_parameters() if each.requires_grad}
    if not found:
        raise UserError(
            f"The client model {type(model).__name__} has no parameter that is trained, so there "
            "is nothing that it would send: set requires_grad of some of them."
        )
    return found


def gradients_of(loss: Tensor, parameters: Sequence[Tensor], create_graph: bool) -> list[Tensor]:
    """Gradients of a loss; zeros for what it does not depend on, as that is not changed.

    Args:
        loss: A scalar.
        parameters: Tensors that require gradients.
        create_graph: Whether the gradients must be differentiable themselves.
    """
    if not loss.requires_grad:
        return [torch.zeros_like(parameter) for parameter in parameters]
    return list(
        torch.autograd.grad(loss, parameters, create_graph=create_graph, materialize_grads=True)
    )


class UpdateRule(OneStep):
    """A procedure written as one function of model, images and labels: the former base class.

    The model is in eval mode, no buffers are sent, and there is no order. Candidates go one by one,
    since nothing is known of the function. Derive new ones from `ClientProcedure`.
    """

    # Of the class, so that settings of an object, which name it in results, are its own alone.
    mode: Mode = "eval"
    send_buffers: bool = False
    loss: nn.Module | None = None
    label_smoothing: float = 0.0
    augmentations: Sequence[Augmentation] = ()

    def __init__(self) -> None:
        """Nothing to set."""

    @abstractmethod
    def __call__(  # type: ignore[override]
        self, model: nn.Module, images: Tensor, labels: Tensor
    ) -> Update:
        """Computes the update, whatever the surrounding grad mode is.

        Args:
            model: The client model; neither its parameters nor their ``.grad`` change.
            images: Images ``(N, 3, H, W)`` in ``[-1, 1]``.
            labels: Their labels ``(N,)``, int64.

        Returns:
            The update; differentiable with respect to ``images`` if they require gradients,
            detached otherwise.
        """

    def check(self, count: int) -> None:
        """Finds out whether the rule takes so many images, before anything is run.

        Args:
            count: Images of one client.

        Raises:
            UserError: If it does not.
        """

    def compute(
        self, state: ClientState, images: Tensor, labels: Tensor, order: Order
    ) -> ClientUpdate:
        """See `ClientProcedure.compute`; the state must be the one that the model is in."""
        tensors = self(state.model, images, labels)
        named = dict(zip(state.weights, tensors, strict=True))
        return self.update(named, {}, len(images), len(order))

    def simulate(
        self,
        gradients: GradientFunction,
        state: ClientState,
        images: Tensor,
        labels: Tensor,
        order: Order,
    ) -> tuple[Tensors, Tensors]:
        """See `ClientProcedure.simulate`; never called, since a rule is known by calling it only.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(f"{type(self).__name__} is known only by calling it.")

    def problems(
        self, model: nn.Module, image_shape: tuple[int, int, int], count: int
    ) -> list[str]:
        """See `ClientProcedure.problems`."""
        problems = super().problems(model, image_shape, count)
        try:
            self.check(count)
        except UserError as error:
            problems.extend(error.problems)
        return problems


class GradientUpdate(UpdateRule):
    """`PlainGradient` with nothing set: the gradient of the mean cross-entropy in eval mode."""

    def __call__(  # type: ignore[override]
        self, model: nn.Module, images: Tensor, labels: Tensor
    ) -> Update:
        """See `UpdateRule.__call__`."""
        with torch.enable_grad():
            loss = F.cross_entropy(model(images), labels)
            parameters = list(trainable_parameters(model).values())
            return gradients_of(loss, parameters, create_graph=images.requires_grad)


class LocalSGDUpdate(UpdateRule):
    """`LocalTraining` by plain SGD in eval mode, images in order, sent as a sum of gradients.

    Sent as ``(w_0 - w_K) / learning_rate``: the sum of the ``K`` steps' gradients, so that one
    step over the whole batch is exactly `GradientUpdate`. Each step takes the next ``batch_size``
    images in order and starts over when they run out. On a CPU candidates go one by one, so that
    results are what they have always been.

    Args:
        steps: Local steps ``K``.
        learning_rate: Step size of the local SGD.
        batch_size: Images per step; None takes all of them. It must divide them.

    Raises:
        UserError: If a number is not positive.
    """

    def __init__(
        self, steps: int, learning_rate: float = 0.01, batch_size: int | None = None
    ) -> None:
        check_positive("steps of local SGD", steps)
        check_positive("learning_rate of local SGD", learning_rate)
        if batch_size is not None:
            check_positive("batch_size of local SGD", batch_size)
        self.steps = steps
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self._training = LocalTraining(
            ClientSGD(learning_rate),
            steps=steps,
            batch_size=batch_size,
            shuffle=False,
            sends="gradient_sum",
            mode="eval",
            send_buffers=False,
        )

    @property
    def training(self) -> LocalTraining:
        """The same as what it is a setting of."""
        return self._training

    def __call__(  # type: ignore[override]
        self, model: nn.Module, images: Tensor, labels: Tensor
    ) -> Update:
        """See `UpdateRule.__call__`.

        Raises:
            UserError: If the images cannot be cut into batches of ``batch_size``.
        """
        trainable_parameters(model)
        order = self.order(len(images), torch.Generator())
        return list(self.compute(ClientState.of(model), images, labels, order).tensors.values())

    def compute(
        self, state: ClientState, images: Tensor, labels: Tensor, order: Order
    ) -> ClientUpdate:
        """See `ClientProcedure.compute`."""
        return self._training.compute(state, images, labels, order)

    def order(self, count: int, generator: torch.Generator) -> Order:
        """See `ClientProcedure.order`.

        Raises:
            UserError: If the images cannot be cut into batches of ``batch_size``.
        """
        self.check(count)
        return self._training.order(count, generator)

    def batch_sizes(self, count: int) -> list[int]:
        """See `ClientProcedure.batch_sizes`."""
        return self._training.batch_sizes(count)

    def check(self, count: int) -> None:
        """See `UpdateRule.check`."""
        if self.batch_size is not None and count % self.batch_size:
            raise UserError(
                f"batch_size of local SGD is {self.batch_size}, which does not divide the client's "
                f"{count} images: choose a divisor."
            )


def client_update(model: nn.Module, images: Tensor, labels: Tensor) -> Update:
    """The plain gradient of the mean cross-entropy; see `GradientUpdate`."""
    return GradientUpdate()(model, images, labels)


def is_plain_gradient(procedure: ClientProcedure) -> bool:
    """Whether an update is the gradient of the mean cross-entropy in eval mode, and nothing else.

    Args:
        procedure: The procedure. A subclass may compute something else, and is not.
    """
    if type(procedure) is GradientUpdate:
        return True
    return (
        type(procedure) is PlainGradient
        and procedure.mode == "eval"
        and procedure.loss is None
        and procedure.label_smoothing == 0
        and not procedure.augmentations
    )


def given_procedure(
    procedure: ClientProcedure | None, update_rule: ClientProcedure | None, owner: str
) -> ClientProcedure:
    """The procedure that a configuration gives, under its name or the former one.

    Args:
        procedure: The setting ``procedure``.
        update_rule: The setting ``update_rule``, its former name.
        owner: Whose settings they are, for messages.

    Returns:
        What is given; the plain gradient if neither is.

    Raises:
        UserError: If both are.
    """
    if procedure is not None and update_rule is not None:
        raise UserError(
            f"The {owner} has procedure ({type(procedure).__name__}) and update_rule "
            f"({type(update_rule).__name__}), which is the former name of the same setting: leave "
            "update_rule out."
        )
    if update_rule is not None:
        _log.info("update_rule of the %s is the former name of procedure.", owner)
        return update_rule
    return GradientUpdate() if procedure is None else procedure
