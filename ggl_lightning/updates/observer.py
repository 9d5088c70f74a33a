"""What can be seen of a training from outside: optimiser, learning rate, number of steps."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook


@dataclass
class ObservedTraining:
    """The steps of the optimisers that ran.

    Attributes:
        steps: Number of steps, of all of them together; None if there were none.
        learning_rate: Theirs, if it was one and the same in every step and parameter group.
        metadata: The optimiser's class and settings, and the range of learning rates if there was
            more than one.
    """

    _counts: dict[int, int] = field(default_factory=dict)
    _rates: set[float] = field(default_factory=set)
    _settings: set[tuple[str, str]] = field(default_factory=set)

    @property
    def steps(self) -> int | None:
        """See the class."""
        return sum(self._counts.values()) or None

    @property
    def learning_rate(self) -> float | None:
        """See the class."""
        return next(iter(self._rates)) if len(self._rates) == 1 else None

    @property
    def metadata(self) -> dict[str, str]:
        """See the class."""
        said = {}
        if len(self._settings) == 1:
            ((said["optimizer"], said["optimizer_settings"]),) = self._settings
        elif self._settings:
            said["optimizer"] = ", ".join(sorted({name for name, _ in self._settings}))
        if len(self._rates) > 1:
            said["learning_rates"] = f"from {min(self._rates)} to {max(self._rates)}"
        if len(self._counts) > 1:
            said["optimizers"] = str(len(self._counts))
        return said

    def note(self, optimizer: Optimizer) -> None:
        """Notes a step that an optimiser has just taken."""
        self._counts[id(optimizer)] = self._counts.get(id(optimizer), 0) + 1
        for group in optimizer.param_groups:
            self._rates.add(float(group["lr"]))
            self._settings.add((type(optimizer).__name__, json.dumps(_settings(group))))


@contextmanager
def observed(parameters: Collection[Tensor] | None = None) -> Iterator[ObservedTraining]:
    """Observes the optimisers that take steps in this thread.

    Args:
        parameters: Only optimisers of any of these count; None counts all.
    """
    training = ObservedTraining()
    thread = threading.get_ident()
    known = None if parameters is None else {id(parameter) for parameter in parameters}

    def note(optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if threading.get_ident() == thread and (known is None or known & held):
            training.note(optimizer)

    handle = register_optimizer_step_post_hook(note)
    try:
        yield training
    finally:
        handle.remove()


def batch_norm_mode(model: nn.Module) -> str | None:
    """``"train"`` or ``"eval"``, as batch-norm runs in a model; None if some layers do each.

    Without batch-norm it is the model's own mode, which dropout follows.
    """
    layers = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    modes = {layer.training for layer in layers} or {model.training}
    if len(modes) > 1:
        return None
    return "train" if modes.pop() else "eval"


def mode_from_counters(before: dict[str, Tensor], after: dict[str, Tensor]) -> str | None:
    """How batch-norm ran, by its counters of batches; None if they were not sent.

    Args:
        before: Buffers before training, by name.
        after: The same afterwards.
    """
    counted = [n for n in after if n.endswith("num_batches_tracked") and n in before]
    rose = {bool(torch.any(after[name] > before[name])) for name in counted}
    if len(rose) != 1:
        return None
    return "train" if rose.pop() else "eval"


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    """The settings of a parameter group but the learning rate, which may change."""
    plain = (bool, int, float, str, type(None))
    return {
        name: value if isinstance(value, plain) else list(value)
        for name, value in sorted(group.items())
        if name not in ("params", "lr", "initial_lr", "param_names")
        and (
            isinstance(value, plain)
            or (isinstance(value, tuple) and all(isinstance(v, plain) for v in value))
        )
    }
