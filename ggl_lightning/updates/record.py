"""What travels in a round of federated learning, and the state of the model it started from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor

from ggl_lightning.problems import Problems
from ggl_lightning.tensor_hash import hash_tensors

Kind = Literal["gradient", "difference"]
"""The gradient of the loss at the weights before training, or weights after minus before."""

Mode = Literal["train", "eval"]
"""Of batch-norm during training: statistics of the batch, or the running ones."""


@dataclass(frozen=True, eq=False)
class UpdateRecord:
    """What a client sent, with what is known of how it came about.

    **Signs.** A ``difference`` is the weights *after* training *minus* those *before*, as Flower's
    and NVFlare's own code forms it; one step of plain SGD makes it ``-learning_rate * gradient``.
    A ``gradient`` points uphill, as autograd returns it.

    Attributes:
        tensors: What was sent of each parameter, by its name in the client model, in
            ``model.parameters()`` order. Parameters that were not sent are not in it.
        kind: ``"gradient"`` or ``"difference"``.
        buffers: The model's buffers after training, by name, if they were sent.
        count: Private images behind the update, if known.
        learning_rate: Of the local training, if known and the same in all steps.
        steps: Steps of its optimiser, if known.
        mode: How batch-norm ran, if known.
        metadata: Anything else, in short texts: framework, optimiser, round, client, ...

    Raises:
        UserError: With everything that is wrong: no tensors, tensors of whole numbers, an unknown
            kind or mode, numbers out of their range.
    """

    tensors: Mapping[str, Tensor]
    kind: Kind
    buffers: Mapping[str, Tensor] = field(default_factory=dict)
    count: int | None = None
    learning_rate: float | None = None
    steps: int | None = None
    mode: Mode | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", _detached(self.tensors))
        object.__setattr__(self, "buffers", _detached(self.buffers))
        object.__setattr__(self, "metadata", dict(self.metadata))
        problems = Problems()
        if not self.tensors:
            problems.add("The update holds no tensors: nothing of the client model was sent.")
        problems.extend(
            f"The update of {name} is of {tensor.dtype}: expected floating-point numbers. Whole "
            "numbers, as batch-norm's counters, belong to the buffers."
            for name, tensor in self.tensors.items()
            if not tensor.is_floating_point()
        )
        for name, value, allowed in (
            ("kind", self.kind, get_args(Kind)),
            ("mode", self.mode, (*get_args(Mode), None)),
        ):
            if value not in allowed:
                known = " or ".join(repr(choice) for choice in allowed if choice is not None)
                problems.add(f"The update's {name} is {value!r}: it must be {known}.")
        for name, number in (("count", self.count), ("steps", self.steps)):
            if number is not None and not (isinstance(number, int) and number > 0):
                problems.add(
                    f"The update's {name} is {number}: it must be a whole number above 0, or be "
                    "left out if it is not known."
                )
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            problems.add(
                f"The update's learning_rate is {self.learning_rate}: it must be a number above 0, "
                "or be left out if it is not known."
            )
        problems.raise_if_any()

    def __repr__(self) -> str:
        entries = sum(tensor.numel() for tensor in self.tensors.values())
        known = {
            name: getattr(self, name)
            for name in ("count", "learning_rate", "steps", "mode")
            if getattr(self, name) is not None
        }
        details = "".join(f", {name}={value}" for name, value in known.items())
        return (
            f"UpdateRecord({self.kind} of {entries:,} entries in {len(self.tensors)} tensors, "
            f"{len(self.buffers)} buffers{details})"
        )


@dataclass(frozen=True, eq=False)
class Recording:
    """An update and the state of the client model from which it was computed.

    What an update says of images depends on the weights at which it was taken, so the two are kept
    together.

    Attributes:
        record: What was sent.
        weights: All parameters before training, those that were not sent among them, by name in
            ``model.parameters()`` order. Empty if they were not recorded.
        buffers: The buffers before training, by name.
        not_sent: Names of parameters of which nothing was sent: frozen ones, those that got no
            gradient, and what the client keeps to itself.
        weights_hash: `hash_by_name` of the weights before, where it is known without them.
    """

    record: UpdateRecord
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    buffers: Mapping[str, Tensor] = field(default_factory=dict)
    not_sent: tuple[str, ...] = ()
    weights_hash: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", _detached(self.weights))
        object.__setattr__(self, "buffers", _detached(self.buffers))
        object.__setattr__(self, "not_sent", tuple(self.not_sent))

    def __repr__(self) -> str:
        base = "with" if self.weights else "without"
        return f"Recording({self.record!r}, {base} the weights before)"


def difference(before: Tensor, after: Tensor) -> Tensor:
    """``after - before``; in float32 where both have fewer bits, which would round it.

    Args:
        before: A parameter before training.
        after: The same afterwards, of the same shape.

    Returns:
        A new tensor on the CPU.
    """
    dtype = torch.promote_types(before.dtype, after.dtype)
    if dtype.is_floating_point and dtype.itemsize < 4:
        dtype = torch.float32
    return after.detach().cpu().to(dtype) - before.detach().cpu().to(dtype)


def hash_by_name(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and values, as hex, in whatever order they come."""
    return hash_tensors(dict(sorted(weights.items())))


def _detached(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in tensors.items()}
