"""A client that trains for a while and sends what became of the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
        # Each batch once: slopes then add up in the same order as they always did.
        batches: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}
        for rate, step in zip(rates, order.steps, strict=True):
            batch = tuple(step.indices.tolist())
            if batch not in batches:
                indices = step.indices.to(images.device)
                batches[batch] = images[indices], labels[indices]
            of_step, labels_of_step = batches[batch]
            seen = self.augmented(of_step, step)
            found, buffers = gradients(weights, buffers, seen, labels_of_step)
            directions: Tensors = {}
            for name, gradient in found.items():
                if gradient is None:
                    continue
                steps_with[name] += 1
                directions[name], memories[name] = self.optimizer.step(
                    weights[name], gradient, memories[name], steps_with[name]
                )
            if self.sends == "difference":  # rounded as torch's optimisers do
                for name, direction in directions.items():
                    weights[name] = torch.sub(weights[name], direction, alpha=rate)
                continue
            # In this order, and rounded so, results of `LocalSGDUpdate` are what they always were.
            weight = rate / self.optimizer.learning_rate
            for name, direction in directions.items():
                total[name] = total[name] + (direction if weight == 1 else weight * direction)
            for name, direction in directions.items():
                weights[name] = weights[name] - rate * direction
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

    def total_rate(self, count: int) -> float:
        """The learning rates of all steps added up, with what momentum makes of them.

        Momentum counts for `ClientSGD` only. While the weights hardly move, that times the mean
        gradient is how far they go.

        Args:
            count: Number of the client's images.
        """
        steps = self.step_count(count)
        rates = self.rates(steps, count)
        optimizer = self.optimizer
        if type(optimizer) is not ClientSGD:
            return sum(rates)
        without_decay = ClientSGD(
            optimizer.learning_rate,
            optimizer.momentum,
            optimizer.dampening,
            0.0,
            optimizer.nesterov,
        )
        weight, memory, total = torch.zeros(()), Memory(), 0.0
        for number, rate in enumerate(rates, start=1):
            direction, memory = without_decay.step(weight, torch.ones(()), memory, number)
            total += rate * float(direction)
        return total

    def gradient_unit(self, count: int) -> float:
        """See `ClientProcedure.gradient_unit`; of Adam, whose steps have no unit, only the sign."""
        total = self.total_rate(count)
        return -total if self.sends == "difference" else total / self.optimizer.learning_rate

    def mean_gradient(self, tensors: Tensors, weights: Mapping[str, Tensor], count: int) -> Tensors:
        """See `ClientProcedure.mean_gradient`; without the weight decay of SGD."""
        found = super().mean_gradient(tensors, weights, count)
        optimizer = self.optimizer
        if type(optimizer) is not ClientSGD or not optimizer.weight_decay:
            return found
        return {
            name: tensor - optimizer.weight_decay * weights[name] for name, tensor in found.items()
        }

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
