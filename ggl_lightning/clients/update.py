"""The update a client sends, as a function of its private images and labels.

Client and attacker share these rules: the client applies one to its private images, the attacker
to its candidates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from ggl_lightning.errors import UserError, check_positive

Update: TypeAlias = list[Tensor]
"""One tensor per parameter of the client model, in ``model.parameters()`` order."""


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
    """The gradient of the mean cross-entropy with respect to every parameter (FedSGD)."""

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> Update:
        """See `UpdateRule.__call__`."""
        with torch.enable_grad():
            loss = F.cross_entropy(model(images), labels)
            parameters = list(model.parameters())
            return list(torch.autograd.grad(loss, parameters, create_graph=images.requires_grad))


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
        names = [name for name, _ in model.named_parameters()]
        with torch.enable_grad():
            weights: list[Tensor] = list(model.parameters())
            total = [torch.zeros_like(weight) for weight in weights]
            for step in range(self.steps):
                batch_images, batch_labels = batches[step % len(batches)]
                current = dict(zip(names, weights, strict=True))
                loss = F.cross_entropy(functional_call(model, current, batch_images), batch_labels)
                gradients = torch.autograd.grad(loss, weights, create_graph=images.requires_grad)
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
