"""One step's gradients of the client's loss, by autograd or as a function to vectorise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Called as ``loss(logits, labels)`` with ``(B, classes)`` and ``(B,)``: a number to minimise."""

Tensors: TypeAlias = dict[str, Tensor]
"""Tensors by their names in the client model."""


class GradientFunction(ABC):
    """Gradients of the client's loss at some weights, with the buffers that the pass leaves."""

    @abstractmethod
    def __call__(
        self, weights: Tensors, buffers: Tensors, images: Tensor, labels: Tensor
    ) -> tuple[dict[str, Tensor | None], Tensors]:
        """Runs the client model once, forward and backward; changes nothing that it is given.

        Args:
            weights: The trainable parameters.
            buffers: The buffers before.
            images: ``(B, 3, H, W)``, as the model is to see them.
            labels: ``(B,)``.

        Returns:
            Gradients by the parameters' names, None for parameters that the loss does not depend
            on; and the buffers afterwards.
        """


class AutogradGradients(GradientFunction):
    """As an ordinary training loop has them.

    Args:
        model: The client model, in the mode it is to run in.
        fixed: Parameters that are not trained.
        loss: The client's loss.
        differentiable: Whether gradients can be differentiated further.

    Attributes:
        unused: For each pass so far, the names of the parameters without gradient.
    """

    def __init__(
        self, model: nn.Module, fixed: Mapping[str, Tensor], loss: Loss, differentiable: bool
    ) -> None:
        self._model = model
        self._fixed = fixed
        self._loss = loss
        self._differentiable = differentiable
        self.unused: list[frozenset[str]] = []

    def __call__(
        self, weights: Tensors, buffers: Tensors, images: Tensor, labels: Tensor
    ) -> tuple[dict[str, Tensor | None], Tensors]:
        """See `GradientFunction.__call__`."""
        with torch.enable_grad():
            if not self._differentiable:
                weights = {name: weight.detach() for name, weight in weights.items()}
            weights = {
                name: weight if weight.requires_grad else weight.detach().requires_grad_()
                for name, weight in weights.items()
            }
            logits, buffers = run_model(self._model, weights, self._fixed, buffers, images)
            gradients = torch.autograd.grad(
                self._loss(logits, labels),
                list(weights.values()),
                create_graph=self._differentiable,
                allow_unused=True,
            )
        named: dict[str, Tensor | None] = dict(zip(weights, gradients, strict=True))
        self.unused.append(frozenset(name for name, each in named.items() if each is None))
        return named, buffers


class FunctionalGradients(GradientFunction):
    """As a function that `torch.func.vmap` can vectorise.

    Args:
        model: The client model, in the mode it is to run in, with pure batch-norm.
        fixed: Parameters that are not trained.
        loss: The client's loss.
        unused: Names of the parameters without gradient: here these would have one of zeros.
    """

    def __init__(
        self,
        model: nn.Module,
        fixed: Mapping[str, Tensor],
        loss: Loss,
        unused: Collection[str],
    ) -> None:
        self._model = model
        self._fixed = fixed
        self._loss = loss
        self._unused = unused

    def __call__(
        self, weights: Tensors, buffers: Tensors, images: Tensor, labels: Tensor
    ) -> tuple[dict[str, Tensor | None], Tensors]:
        """See `GradientFunction.__call__`."""

        def objective(used: Tensors) -> tuple[Tensor, Tensors]:
            logits, after = run_model(self._model, weights | used, self._fixed, buffers, images)
            return self._loss(logits, labels), after

        used = {name: each for name, each in weights.items() if name not in self._unused}
        gradients, buffers = grad(objective, has_aux=True)(used)
        return {name: gradients.get(name) for name in weights}, buffers


def run_model(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    fixed: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
    images: Tensor,
) -> tuple[Tensor, Tensors]:
    """The model's logits, and its buffers afterwards as new tensors."""
    held = {**weights, **fixed, **{name: buffer.clone() for name, buffer in buffers.items()}}
    logits = functional_call(model, held, (images,))
    # Buffers have changed in place, or were set anew: that it writes back to its dictionary.
    return logits, {name: held[name] for name in buffers}
