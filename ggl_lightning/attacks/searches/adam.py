"""Gradient descent on latents with Adam."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ggl_lightning.attacks.searches.base import Search
from ggl_lightning.errors import check_positive

COST_OF_GRADIENT = 3.0
"""A candidate's loss and its gradient, in losses alone: roughly, to share out work by."""


class AdamSearch(Search):
    """Adam on several latents at once, each from its own random start ``N(0, I)``.

    A round is one step of every restart. The learning rate rises linearly over the first 5% of
    the budget and falls as a half cosine over the last 25% (Li et al. 2022, after Karras et al.
    2020, StyleGAN2's projection).

    Args:
        lr: Learning rate between ramps.
        restarts: Latents that descend side by side: the population.

    Raises:
        UserError: If an argument is not positive.
    """

    def __init__(self, lr: float = 0.1, restarts: int = 1) -> None:
        check_positive("lr", lr)
        check_positive("restarts", restarts)
        self.lr = lr
        self.restarts = restarts

    def evaluations(self, budget: int) -> int:
        """See `Search.evaluations`."""
        return budget * self.restarts

    def cost(self, budget: int) -> float:
        """See `Search.cost`."""
        return COST_OF_GRADIENT * self.evaluations(budget)

    def start(self, latent_shape: tuple[int, ...], budget: int, seed: int) -> None:
        """See `Search.start`."""
        generator = torch.Generator().manual_seed(seed)
        self.descend_from(torch.randn(self.restarts, *latent_shape, generator=generator), budget)

    def descend_from(self, latents: Tensor, steps: int) -> None:
        """Begins a descent from given latents ``(C, *latent_shape)`` instead of random ones."""
        self._latents = latents.clone().requires_grad_()
        self._optimizer = torch.optim.Adam([self._latents], lr=self.lr)
        self._step = 0
        self._steps = steps
        self._losses = torch.zeros(len(latents))

    def ask(self) -> Tensor:
        """See `Search.ask`; the latents require gradients."""
        return self._latents

    def tell(self, losses: Tensor) -> None:
        """Takes one step down the gradient of every restart's own loss."""
        self._optimizer.zero_grad()
        losses.sum().backward()  # restarts do not share latents, so neither do they gradients
        self._optimizer.param_groups[0]["lr"] = self.lr * ramp(self._step, self._steps)
        self._optimizer.step()
        self._step += 1
        self._losses = losses.detach()

    def recommend(self) -> Tensor:
        """The restart that was lowest before its last step."""
        return self._latents.detach()[int(self._losses.argmin())].clone()

    def snapshot(self) -> dict[str, Tensor]:
        """See `Search.snapshot`: the latents and Adam's moments."""
        moments = self._optimizer.state.get(self._latents, {})
        kept = {"latents": self._latents, "last_losses": self._losses, **moments}
        return {name: tensor.detach().clone() for name, tensor in kept.items()}

    def restore(
        self, snapshot: Mapping[str, Tensor], told: Sequence[Tensor], asked: Tensor | None
    ) -> None:
        """See `Search.restore`; losses without their graph say nothing about the gradients."""
        moments = dict(snapshot)
        self.descend_from(moments.pop("latents"), self._steps)
        self._losses = moments.pop("last_losses")
        self._step = len(told)
        if moments:  # there are none before the first step
            state = self._optimizer.state_dict()
            self._optimizer.load_state_dict({**state, "state": {0: moments}})


def ramp(step: int, steps: int) -> float:
    """Factor on the learning rate: up over the first 5% of the steps, down over the last 25%.

    Args:
        step: Step about to be taken, from 0.
        steps: How many there are.

    Returns:
        ``min(1, t / 0.05) * (1/2 - 1/2 cos(pi min(1, (1 - t) / 0.25)))`` at ``t``, the middle of
        the step's share of the schedule, so that no step has a factor of zero.
    """
    t = (step + 0.5) / steps
    down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / 0.25))
    return min(1.0, t / 0.05) * down
