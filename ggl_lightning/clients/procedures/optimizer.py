"""Optimisers of local training as pure functions, step for step those of ``torch.optim``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeAlias

import torch
from torch import Tensor

from ggl_lightning.errors import UserError, check_non_negative, check_positive

Memory: TypeAlias = dict[str, Tensor]
"""What an optimiser remembers of one parameter."""


class ClientOptimizer(ABC):
    """Turns gradients into changes of the weights.

    Everything is differentiable with respect to the gradients, and nothing changes in place. Its
    public attributes are its parameters: they identify it in results.

    Attributes:
        learning_rate: What a schedule begins with.
    """

    learning_rate: float

    @abstractmethod
    def step(
        self, weight: Tensor, gradient: Tensor, memory: Memory, step: int
    ) -> tuple[Tensor, Memory]:
        """Which way a parameter goes, per unit of the learning rate.

        Args:
            weight: The parameter before the step.
            gradient: The loss's gradient with respect to it.
            memory: What the last step returned; empty in the first.
            step: Number of this step among those in which the parameter had a gradient, from 1.

        Returns:
            The direction ``d``, where the weight becomes ``weight - rate * d``; and what to
            remember.
        """


class ClientSGD(ClientOptimizer):
    """Stochastic gradient descent, as ``torch.optim.SGD``.

    Args:
        learning_rate: Step size.
        momentum: Share of the last direction that is kept.
        dampening: Share of the gradient that is left out of momentum from the second step on.
        weight_decay: Multiple of the weights that is added to their gradient.
        nesterov: Whether momentum is Nesterov's.

    Raises:
        UserError: If a number is out of its range, or Nesterov's momentum has no momentum or is
            dampened.
    """

    def __init__(
        self,
        learning_rate: float = 0.01,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        check_positive("learning_rate of the client's SGD", learning_rate)
        check_non_negative("momentum of the client's SGD", momentum)
        check_non_negative("dampening of the client's SGD", dampening)
        check_non_negative("weight_decay of the client's SGD", weight_decay)
        if nesterov and (momentum == 0 or dampening != 0):
            raise UserError(
                f"nesterov of the client's SGD needs momentum above 0 and dampening 0, but these "
                f"are {momentum} and {dampening}: change them, or set nesterov to false."
            )
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.dampening = dampening
        self.weight_decay = weight_decay
        self.nesterov = nesterov

    def step(
        self, weight: Tensor, gradient: Tensor, memory: Memory, step: int
    ) -> tuple[Tensor, Memory]:
        """See `ClientOptimizer.step`."""
        if self.weight_decay:
            gradient = torch.add(gradient, weight, alpha=self.weight_decay)
        if not self.momentum:
            return gradient, memory
        if memory:
            kept = gradient if not self.dampening else (1 - self.dampening) * gradient
            velocity = torch.add(kept, memory["velocity"], alpha=self.momentum)
        else:
            velocity = gradient  # as torch's, which dampens only from the second step on
        direction = velocity
        if self.nesterov:
            direction = torch.add(gradient, velocity, alpha=self.momentum)
        return direction, {"velocity": velocity}


class ClientAdam(ClientOptimizer):
    """Adam (Kingma and Ba 2015), as ``torch.optim.Adam``.

    Entries whose gradient is nothing but rounding, such as those of a bias before batch-norm, take
    steps of full size in a direction of chance: between machines their updates do not agree.

    Args:
        learning_rate: Step size.
        betas: Decay of the means of the gradients and of their squares.
        eps: Added to the root of the latter.
        weight_decay: Multiple of the weights that is added to their gradient.

    Raises:
        UserError: If a number is out of its range.
    """

    def __init__(
        self,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        check_positive("learning_rate of the client's Adam", learning_rate)
        check_positive("eps of the client's Adam", eps)
        check_non_negative("weight_decay of the client's Adam", weight_decay)
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise UserError(
                f"betas of the client's Adam are {tuple(betas)}: they must be two numbers from 0 "
                "to below 1."
            )
        self.learning_rate = learning_rate
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay

    def step(
        self, weight: Tensor, gradient: Tensor, memory: Memory, step: int
    ) -> tuple[Tensor, Memory]:
        """See `ClientOptimizer.step`."""
        if self.weight_decay:
            gradient = torch.add(gradient, weight, alpha=self.weight_decay)
        return self._adam(gradient, memory, step)

    def _adam(self, gradient: Tensor, memory: Memory, step: int) -> tuple[Tensor, Memory]:
        first, second = self.betas
        zero = torch.zeros_like(gradient)
        mean = torch.lerp(memory.get("mean", zero), gradient, 1 - first)
        square = second * memory.get("square", zero) + (1 - second) * gradient * gradient
        # The slope of the root at 0 is infinite, and would make a NaN of the 0 it is multiplied by.
        positive = square > 0
        root = torch.where(positive, torch.where(positive, square, 1).sqrt(), 0)
        scale = root / (1 - second**step) ** 0.5 + self.eps
        return mean / scale / (1 - first**step), {"mean": mean, "square": square}


class ClientAdamW(ClientAdam):
    """Adam whose weight decay stays out of its means (Loshchilov and Hutter 2019).

    As ``torch.optim.AdamW``; arguments and errors are `ClientAdam`'s.
    """

    def __init__(
        self,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(learning_rate, betas, eps, weight_decay)

    def step(
        self, weight: Tensor, gradient: Tensor, memory: Memory, step: int
    ) -> tuple[Tensor, Memory]:
        """See `ClientOptimizer.step`."""
        direction, memory = self._adam(gradient, memory, step)
        return direction + self.weight_decay * weight, memory
