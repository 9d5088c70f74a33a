"""A client that trains for a while and sends what became of the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ggl_lightning.clients.procedures.augmentation import Augmentation
from ggl_lightning.clients.procedures.base import ClientProcedure
from ggl_lightning.clients.procedures.gradients import GradientFunction, Tensors
from ggl_lightning.clients.procedures.optimizer import ClientOptimizer, ClientSGD, Memory
from ggl_lightning.clients.procedures.order import Order, complete, epochs_of
from ggl_lightning.clients.procedures.schedule import ConstantRate, Schedule
from ggl_lightning.clients.procedures.state import ClientState, Mode
from ggl_lightning.clients.procedures.update import Kind
from ggl_lightning.errors import UserError, check_choice, check_positive


class LocalTraining(ClientProcedure):
    """Several steps of an optimiser on the client's images (FedAvg; McMahan et al. 2017).

    Parameters that the loss does not depend on stay as they are, without weight decay, as with
    torch's optimisers; of them, zeros are sent.

    Args:
        optimizer: The client's optimiser; `ClientSGD` if None.
        epochs: How often it goes through its images; 1 if neither this nor ``steps`` is given.
        steps: How many steps it takes instead, through as many epochs as that needs.
        batch_size: Images per step; None takes all of them.
        drop_last: Whether an epoch's last batch is left out where ``batch_size`` does not divide
            the images.
        shuffle: Whether every epoch takes the images in a new random order.
        schedule: Its learning rates; `ConstantRate` if None.
        sends: ``difference``: the weights after training minus those before. ``gradient_sum``: the
            directions of the steps added up, in units of the optimiser's learning rate: for plain
            SGD the sum of its gradients, ``(w_0 - w_K) / learning_rate``.
        mode: See `ClientProcedure`, as for all others.
        send_buffers: Likewise.
        loss: Likewise.
        label_smoothing: Likewise.
        augmentations: Likewise.

    Raises:
        UserError: If a number is not positive, both epochs and steps are given, or as
            `ClientProcedure` does; when called, if there is no step to take or the schedule is too
            short.
    """

    def __init__(
        self,
        optimizer: ClientOptimizer | None = None,
        epochs: int | None = None,
        steps: int | None = None,
        batch_size: int | None = None,
        drop_last: bool = False,
        shuffle: bool = True,
        schedule: Schedule | None = None,
        sends: Literal["difference", "gradient_sum"] = "difference",
        mode: Mode = "train",
        send_buffers: bool = True,
        loss: nn.Module | None = None,
        label_smoothing: float = 0.0,
        augmentations: Sequence[Augmentation] = (),
    ) -> None:
        super().__init__(mode, send_buffers, loss, label_smoothing, augmentations)
        check_choice("sends of the local training", sends, ("difference", "gradient_sum"))
        if epochs is not None and steps is not None:
            raise UserError(
                f"The local training has epochs ({epochs}) and steps ({steps}): leave one out."
            )
        for name, number in (("epochs", epochs), ("steps", steps), ("batch_size", batch_size)):
            if number is not None:
                check_positive(f"{name} of the local training", number)
        self.optimizer = ClientSGD() if optimizer is None else optimizer
        self.epochs = 1 if epochs is None and steps is None else epochs
        self.steps = steps
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.shuffle = shuffle
        self.schedule = ConstantRate() if schedule is None else schedule
        self.sends = sends

    @property
    def kind(self) -> Kind:
        """What the update's tensors are; see ``sends``."""
        return "difference" if self.sends == "difference" else "gradient"

    def order(self, count: int, generator: torch.Generator) -> Order:
        """See `ClientProcedure.order`.

        Raises:
            UserError: If an epoch has no batch.
        """
        if not self._steps_per_epoch(count):
            raise UserError(self._no_batch(count))
        batches = epochs_of(
            count,
            self.batch_size,
            self.drop_last,
            self.shuffle,
            self.step_count(count),
            generator,
        )
        return complete(batches, self.augmentations, generator)

    def simulate(
        self,
        gradients: GradientFunction,
        state: ClientState,
        images: Tensor,
        labels: Tensor,
        order: Order,
    ) -> tuple[Tensors, Tensors]:
        """See `ClientProcedure.simulate`."""
        rates = self.rates(len(order), len(images))
        weights, buffers = dict(state.weights), dict(state.buffers)
        memories: dict[str, Memory] = {name: {} for name in weights}
        steps_with = dict.fromkeys(weights, 0)
        total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        for rate, step in zip(rates, order.steps, strict=True):
            of_step = labels[step.indices.to(labels.device)]
            found, buffers = gradients(weights, buffers, self.seen(images, step), of_step)
            for name, gradient in found.items():
                if gradient is None:
                    continue
                steps_with[name] += 1
                direction, memories[name] = self.optimizer.step(
                    weights[name], gradient, memories[name], steps_with[name]
                )
                if self.sends == "difference":  # rounded as torch's optimisers do
                    weights[name] = torch.sub(weights[name], direction, alpha=rate)
                else:  # as `LocalSGDUpdate` does, whose results these are to the bit
                    weights[name] = weights[name] - rate * direction
                    weight = rate / self.optimizer.learning_rate
                    total[name] = total[name] + (direction if weight == 1 else weight * direction)
        if self.sends == "difference":
            total = {name: weights[name] - before for name, before in state.weights.items()}
        return total, buffers

    def rates(self, steps: int, count: int) -> list[float]:
        """See `ClientProcedure.rates`.

        Raises:
            UserError: If the schedule is shorter than the training.
        """
        per_epoch = self._steps_per_epoch(count) if self.schedule.per == "epoch" else 1
        needed = math.ceil(steps / max(1, per_epoch))
        rates = self.schedule.rates(self.optimizer.learning_rate, needed)
        if len(rates) < needed:
            raise UserError(
                f"The schedule {type(self.schedule).__name__} has {len(rates)} learning rates, but "
                f"the local training takes {needed} {self.schedule.per}s: give it more, or train "
                "for less."
            )
        return [rates[step // per_epoch] for step in range(steps)]

    def shuffles(self, count: int) -> bool:
        """See `ClientProcedure.shuffles`."""
        return self.shuffle and self._largest(count) < count

    def batch_sizes(self, count: int) -> list[int]:
        """See `ClientProcedure.batch_sizes`."""
        size = self._largest(count)
        rest = count % size
        # All batches may come before the smaller last one of the first epoch.
        all_of_it = self.step_count(count) >= self._steps_per_epoch(count)
        sizes = [size] if self._steps_per_epoch(count) else []
        return [*sizes, rest] if rest and not self.drop_last and all_of_it else sizes

    def problems(
        self, model: nn.Module, image_shape: tuple[int, int, int], count: int
    ) -> list[str]:
        """See `ClientProcedure.problems`."""
        problems = super().problems(model, image_shape, count)
        if count < 1:
            return problems
        if not self._steps_per_epoch(count):
            return [*problems, self._no_batch(count)]
        try:
            self.rates(self.step_count(count), count)
        except UserError as error:
            problems.extend(error.problems)
        return problems

    def _largest(self, count: int) -> int:
        return count if self.batch_size is None else min(self.batch_size, count)

    def _steps_per_epoch(self, count: int) -> int:
        size = count if self.batch_size is None else self.batch_size
        return count // size if self.drop_last else math.ceil(count / size)

    def step_count(self, count: int) -> int:
        """How many steps it takes on ``count`` images."""
        return self.steps or (self.epochs or 1) * self._steps_per_epoch(count)

    def _no_batch(self, count: int) -> str:
        return (
            f"batch_size of the local training is {self.batch_size} with drop_last, but the client "
            f"has only {count} images, so that no batch is left: lower batch_size, or set "
            "drop_last to false."
        )
