"""The update a client sends, as a function of its private images and labels.

Client and attacker share these rules: the client applies one to its private images, the attacker
to its candidates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from ggl_lightning.errors import UserError, check_positive

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


class UpdateRule(ABC):
    """How a client turns private images into an update.

    Its public attributes are its parameters: they identify it in results.
    """

    @abstractmethod
    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Update:
        """Computes the update, whatever the surrounding grad mode is.

        Args:
            model: The client model; neither its parameters nor their ``.grad`` change.
            images: Images ``(N, 3, H, W)`` in ``[-1, 1]``.
            labels: Their labels ``(N,)``, int64.

        Returns:
            The update; differentiable with respect to ``images`` if they require gradients,
            detached otherwise.
        """

    def check(self, count: int) -> None:  # noqa: B027 - most rules take any number
        """Finds out whether the rule takes so many images, before anything is run.

        Args:
            count: Images of one client.

        Raises:
            UserError: If it does not.
        """


class GradientUpdate(UpdateRule):
    """The gradient of the mean cross-entropy with respect to every trainable parameter (FedSGD)."""

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Update:
        """See `UpdateRule.__call__`."""
        with torch.enable_grad():
            loss = F.cross_entropy(model(images), labels)
            parameters = list(trainable_parameters(model).values())
            return gradients_of(loss, parameters, create_graph=images.requires_grad)


class LocalSGDUpdate(UpdateRule):
    """The change of the weights over several local SGD steps (FedAvg; McMahan et al. 2017).

    Sent as ``(w_0 - w_K) / learning_rate``: the sum of the ``K`` steps' gradients, so that one
    step over the whole batch is exactly `GradientUpdate`. Each step takes the next ``batch_size``
    images in order and starts over when they run out.

    Args:
        steps: Local steps ``K``.
        learning_rate: Step size of the local SGD.
        batch_size: Images per step; None takes all of them.

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

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Update:
        """See `UpdateRule.__call__`.

        Raises:
            UserError: If the images cannot be cut into batches of ``batch_size``.
        """
        batches = self.batches(images, labels)
        trainable = trainable_parameters(model)
        names = list(trainable)
        with torch.enable_grad():
            weights: list[Tensor] = list(trainable.values())
            total = [torch.zeros_like(weight) for weight in weights]
            for step in range(self.steps):
                batch_images, batch_labels = batches[step % len(batches)]
                current = dict(zip(names, weights, strict=True))
                loss = F.cross_entropy(functional_call(model, current, batch_images), batch_labels)
                gradients = gradients_of(loss, weights, create_graph=images.requires_grad)
                total = [t + g for t, g in zip(total, gradients, strict=True)]
                weights = [
                    w - self.learning_rate * g for w, g in zip(weights, gradients, strict=True)
                ]
                if not images.requires_grad:
                    weights = [weight.detach().requires_grad_() for weight in weights]
        return total if images.requires_grad else [tensor.detach() for tensor in total]

    def check(self, count: int) -> None:
        """See `UpdateRule.check`."""
        if self.batch_size is not None and count % self.batch_size:
            raise UserError(
                f"batch_size of local SGD is {self.batch_size}, which does not divide the client's "
                f"{count} images: choose a divisor."
            )

    def batches(self, images: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The images ``(N, 3, H, W)`` and labels ``(N,)`` of each step of a pass over them.

        Raises:
            UserError: If the images cannot be cut into batches of ``batch_size``.
        """
        self.check(len(images))
        size = len(images) if self.batch_size is None else self.batch_size
        return list(zip(images.split(size), labels.split(size), strict=True))


def client_update(model: nn.Module, images: Tensor, labels: Tensor) -> Update:
    """The plain gradient of the mean cross-entropy; see `GradientUpdate`."""
    return GradientUpdate()(model, images, labels)
