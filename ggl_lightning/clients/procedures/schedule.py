"""Learning rates of local training, step by step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch.optim.lr_scheduler import LRScheduler

from ggl_lightning.errors import UserError, check_choice, check_non_negative, check_positive

Per = Literal["step", "epoch"]
"""When a schedule advances."""


class Schedule(ABC):
    """The learning rates of a training, known before it begins.

    Its public attributes are its parameters: they identify it in results.

    Args:
        per: Whether it advances with every step or every epoch.

    Raises:
        UserError: If ``per`` is neither.
    """

    def __init__(self, per: Per) -> None:
        check_choice("per of the schedule", per, ("step", "epoch"))
        self.per = per

    @abstractmethod
    def rates(self, first: float, count: int) -> list[float]:
        """The learning rates of ``count`` steps or epochs.

        Args:
            first: The optimiser's learning rate.
            count: How many there are.

        Returns:
            As many numbers; fewer if the schedule is shorter.
        """


class ConstantRate(Schedule):
    """The optimiser's learning rate throughout."""

    def __init__(self) -> None:
        super().__init__("step")

    def rates(self, first: float, count: int) -> list[float]:
        """See `Schedule.rates`."""
        return [first] * count


class StepwiseRate(Schedule):
    """The learning rate times ``factor`` every so often, as ``torch.optim.lr_scheduler.StepLR``.

    Args:
        every: Steps or epochs between two changes.
        factor: What it is multiplied by.
        per: What is counted.

    Raises:
        UserError: If a number is not positive.
    """

    def __init__(self, every: int, factor: float = 0.1, per: Per = "epoch") -> None:
        super().__init__(per)
        check_positive("every of the stepwise rate", every)
        check_positive("factor of the stepwise rate", factor)
        self.every = every
        self.factor = factor

    def rates(self, first: float, count: int) -> list[float]:
        """See `Schedule.rates`."""
        return [first * self.factor ** (i // self.every) for i in range(count)]


class CosineRate(Schedule):
    """Half a cosine from the learning rate down, as ``torch.optim.lr_scheduler.CosineAnnealingLR``.

    Args:
        over: Steps or epochs that it takes; as many as there are if None.
        minimum: Where it ends.
        per: What is counted.

    Raises:
        UserError: If ``over`` is not positive or ``minimum`` is negative.
    """

    def __init__(self, over: int | None = None, minimum: float = 0.0, per: Per = "step") -> None:
        super().__init__(per)
        if over is not None:
            check_positive("over of the cosine rate", over)
        check_non_negative("minimum of the cosine rate", minimum)
        self.over = over
        self.minimum = minimum

    def rates(self, first: float, count: int) -> list[float]:
        """See `Schedule.rates`; shorter if ``over`` is."""
        over = count if self.over is None else self.over
        span = (first - self.minimum) / 2
        return [
            self.minimum + span * (1 + math.cos(math.pi * i / over))
            for i in range(min(count, over + 1))
        ]


class ListedRates(Schedule):
    """Learning rates given one by one.

    Args:
        learning_rates: The rates.
        per: Whether each is one step's or one epoch's.

    Raises:
        UserError: If there are none, or one is negative.
    """

    def __init__(self, learning_rates: Sequence[float], per: Per = "step") -> None:
        super().__init__(per)
        if not learning_rates:
            raise UserError("learning_rates of the listed rates is empty: give at least one.")
        for rate in learning_rates:
            check_non_negative("A rate in learning_rates of the listed rates", rate)
        self.learning_rates = list(learning_rates)

    def rates(self, first: float, count: int) -> list[float]:
        """See `Schedule.rates`; ``first`` plays no part."""
        return self.learning_rates[:count]


class TorchRates(Schedule):
    """The rates of any of torch's schedulers that sees nothing of the training.

    Args:
        scheduler: Makes the scheduler for an optimiser.
        per: Whether it is advanced after every step or every epoch.

    Raises:
        UserError: From `rates`, if the scheduler changes something else than the learning rate.
    """

    def __init__(
        self, scheduler: Callable[[torch.optim.Optimizer], LRScheduler], per: Per = "step"
    ) -> None:
        super().__init__(per)
        self.scheduler = scheduler

    def rates(self, first: float, count: int) -> list[float]:
        """See `Schedule.rates`."""
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=first, momentum=0.5)
        scheduler = self.scheduler(optimizer)
        (group,) = optimizer.param_groups
        rates = []
        for _ in range(count):
            if group["momentum"] != 0.5:
                raise UserError(
                    f"The scheduler {type(scheduler).__name__} changes the momentum too, which a "
                    "schedule of learning rates cannot follow: switch that off "
                    "(cycle_momentum=false), or choose another."
                )
            rates.append(float(group["lr"]))
            optimizer.step()
            scheduler.step()
        return rates
