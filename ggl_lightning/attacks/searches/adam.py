"""Gradient descent with Adam."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ggl_lightning.attacks.searches.base import Search
from ggl_lightning.errors import UserError, check_non_negative, check_positive
from ggl_lightning.seeding import torch_generator

if TYPE_CHECKING:
    from ggl_lightning.attacks.spaces.base import SearchSpace

COST_OF_GRADIENT = 3.0
"""A candidate's loss and its gradient, in losses alone: roughly, to share out work by."""


class Schedule(Enum):
    """How the learning rate changes over the budget.

    * ``ramps``: up over the first 5% of the steps, down over the last 25% (Li et al. 2022, after
      Karras et al. 2020, StyleGAN2's projection); see `ramp`.
    * ``steps``: a tenth after 3/8, 5/8 and 7/8 of the steps each (Geiping et al. 2020).
    * ``cosine``: down as half a cosine; see `cosine`.
    * ``constant``: not at all.
    """

    ramps = "ramps"
    steps = "steps"
    cosine = "cosine"
    constant = "constant"


class AdamSearch(Search):
    """Adam on several points at once, each from its own random start.

    A round is one step of every restart.

    Args:
        lr: Learning rate, times what the schedule says.
        restarts: Points that descend side by side: the population.
        schedule: How the learning rate changes.
        warmup: Steps of the ``cosine`` over which the learning rate rises first.
        floor: Where the ``cosine`` ends, as a share of ``lr``.
        signed: Whether only the signs of the gradients enter (Geiping et al. 2020).
        noise: Standard deviation, times the learning rate of the step, of normal noise that is
            added to points after it (Langevin noise, as Yin et al. 2021).

    Raises:
        UserError: If a number is out of range.
    """

    descends = True

    def __init__(
        self,
        lr: float = 0.1,
        restarts: int = 1,
        schedule: Schedule = Schedule.ramps,
        warmup: int = 0,
        floor: float = 0.0,
        signed: bool = False,
        noise: float = 0.0,
    ) -> None:
        check_positive("lr", lr)
        check_positive("restarts", restarts)
        check_non_negative("warmup", warmup)
        check_non_negative("noise of AdamSearch", noise)
        if not 0 <= floor <= 1:
            raise UserError(f"floor is {floor}: it must be a share of lr, between 0 and 1.")
        if schedule is not Schedule.cosine and (warmup or floor):
            raise UserError(
                f"schedule is {schedule.value}: warmup and floor belong to the schedule cosine."
            )
        self.lr = lr
        self.restarts = restarts
        self.schedule = schedule
        self.warmup = warmup
        self.floor = floor
        self.signed = signed
        self.noise = noise
        self._project: Callable[[Tensor], Tensor] = _unchanged
        self._seed = 0

    def evaluations(self, budget: int) -> int:
        """See `Search.evaluations`."""
        return budget * self.restarts

    def cost(self, budget: int) -> float:
        """See `Search.cost`."""
        return COST_OF_GRADIENT * self.evaluations(budget)

    def start(self, latent_shape: tuple[int, ...], budget: int, seed: int) -> None:
        """See `Search.start`; from ``N(0, I)``."""
        generator = torch.Generator().manual_seed(seed)
        self._project = _unchanged
        self._seed = seed
        self.descend_from(torch.randn(self.restarts, *latent_shape, generator=generator), budget)

    def start_in(self, space: SearchSpace, count: int, budget: int, seed: int) -> None:
        """See `Search.start_in`; after each step, points are projected into the space."""
        generator = torch.Generator().manual_seed(seed)
        self._project = space.project
        self._seed = seed
        self.descend_from(space.start(self.restarts, count, generator), budget)

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
        lr = self.lr * self._factor()
        self._optimizer.param_groups[0]["lr"] = lr
        if self.signed and self._latents.grad is not None:
            self._latents.grad.sign_()
        self._optimizer.step()
        with torch.no_grad():
            if self.noise:
                # Of the step's own generator: there is nothing to keep for a resumption.
                generator = torch_generator(self._seed, self._step)
                drawn = torch.randn(self._latents.shape, generator=generator)
                self._latents.add_(drawn, alpha=self.noise * lr)
            self._latents.copy_(self._project(self._latents))
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

    def _factor(self) -> float:
        match self.schedule:
            case Schedule.ramps:
                return ramp(self._step, self._steps)
            case Schedule.steps:
                return staircase(self._step, self._steps)
            case Schedule.cosine:
                return cosine(self._step, self._steps, self.warmup, self.floor)
            case Schedule.constant:
                return 1.0


def staircase(step: int, steps: int) -> float:
    """Factor on the learning rate: a tenth after 3/8, 5/8 and 7/8 of the steps each.

    As the published code of Geiping et al. 2020 does it.

    Args:
        step: Step about to be taken, from 0.
        steps: How many there are.
    """
    return 0.1 ** sum(8 * step >= eighths * steps for eighths in (3, 5, 7))


def cosine(step: int, steps: int, warmup: int = 0, floor: float = 0.0) -> float:
    """Factor on the learning rate: half a cosine from 1 down to a floor, after a linear rise.

    Args:
        step: Step about to be taken, from 0.
        steps: How many there are.
        warmup: Steps over which it rises; the cosine falls all the same.
        floor: Where it ends.

    Returns:
        ``min(1, (step + 1) / warmup) * (floor + (1 - floor) (1 + cos(pi step / steps)) / 2)``.
    """
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return rise * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _unchanged(points: Tensor) -> Tensor:
    return points


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
