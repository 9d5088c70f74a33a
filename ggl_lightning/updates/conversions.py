"""An update's kinds, turned into each other."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from ggl_lightning.errors import UserError, check_positive
from ggl_lightning.updates.record import Kind, Recording, UpdateRecord


def weights_after(recording: Recording) -> dict[str, Tensor]:
    """The parameters after training, by name; those that were not sent are as before.

    They are what the client had to within rounding: the sum of the weights before and the
    difference.

    Args:
        recording: One of a difference.

    Raises:
        UserError: If it is of a gradient, or has no weights before.
    """
    record = recording.record
    if record.kind != "difference":
        raise UserError("A gradient does not say what the weights were after training.")
    _check_base(recording)
    return {
        name: before + record.tensors[name].to(before) if name in record.tensors else before
        for name, before in recording.weights.items()
    }


def gradient_sum(record: UpdateRecord, learning_rate: float | None = None) -> UpdateRecord:
    """The sum of the gradients of the local steps, if these were plain SGD.

    That is ``-difference / learning_rate``. With momentum, weight decay or an adaptive optimiser it
    is a *pseudo*-gradient: it points where the gradients did, at a scale of its own.

    Args:
        record: A difference; a gradient is returned as it is.
        learning_rate: Of the local steps; the record's own if None.

    Returns:
        A record of kind ``"gradient"``, in which ``steps`` still says how many gradients were
        added.

    Raises:
        UserError: If the learning rate is not known, or given otherwise than recorded.
    """
    if record.kind == "gradient":
        return record
    rate = _known(record.learning_rate, learning_rate, "learning rate")
    return _scaled(record, -1 / rate, "gradient")


def mean_gradient(
    record: UpdateRecord, learning_rate: float | None = None, steps: int | None = None
) -> UpdateRecord:
    """The mean gradient of the local steps, if these were plain SGD; see `gradient_sum`.

    Args:
        record: A difference; a gradient is returned as it is.
        learning_rate: Of the local steps; the record's own if None.
        steps: How many they were; the record's own if None.

    Raises:
        UserError: If either is not known, or given otherwise than recorded.
    """
    if record.kind == "gradient":
        return record
    rate = _known(record.learning_rate, learning_rate, "learning rate")
    return _scaled(record, -1 / (rate * _known(record.steps, steps, "number of steps")), "gradient")


def one_step_difference(record: UpdateRecord, learning_rate: float | None = None) -> UpdateRecord:
    """What one step of plain SGD along a gradient makes of the weights: ``-learning_rate * g``.

    Args:
        record: A gradient; a difference is returned as it is.
        learning_rate: Of that step; the record's own if None.

    Raises:
        UserError: If it is not known, or given otherwise than recorded.
    """
    if record.kind == "difference":
        return record
    rate = _known(record.learning_rate, learning_rate, "learning rate")
    converted = _scaled(record, -rate, "difference")
    return dataclasses.replace(converted, learning_rate=rate, steps=1)


def _known(recorded: float | None, given: float | None, what: str) -> float:
    if given is not None:
        check_positive(f"The {what}", given)
        if recorded is not None and recorded != given:
            raise UserError(f"The {what} is given as {given}, but recorded as {recorded}.")
        return given
    if recorded is None:
        raise UserError(
            f"The {what} of the local training is not recorded: give it, or convert nothing."
        )
    return recorded


def _scaled(record: UpdateRecord, factor: float, kind: Kind) -> UpdateRecord:
    tensors = {name: factor * tensor for name, tensor in record.tensors.items()}
    return dataclasses.replace(record, tensors=tensors, kind=kind)


def _check_base(recording: Recording) -> None:
    if not recording.weights:
        raise UserError(
            "The recording has no weights before training, so those afterwards cannot be had from "
            "the difference."
        )
