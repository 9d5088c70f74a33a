"""The update of a case before it is attacked: whether it holds anything, and numbers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ggl_lightning.clients import Update
from ggl_lightning.clients.procedures import ClientUpdate
from ggl_lightning.seeding import torch_generator
from ggl_lightning.updates import UpdateRecord

_ORDER = (0xC11E, 1)
"""The stream of the client's order: nothing of it can be known from other streams."""

EMPTY = "the received update is empty: all its entries are zero, so it says nothing of the image"
"""What is noted of a case with such an update."""


class UnusableUpdateError(Exception):
    """An update that no attack can be run on; the message says whose doing it is."""


def client_generator(seed: int) -> torch.Generator:
    """What a client draws the order of its images from.

    Args:
        seed: The case's.
    """
    return torch_generator(seed, *_ORDER)


def sent_record(update: ClientUpdate, sent: Update) -> UpdateRecord:
    """What leaves a client.

    Args:
        update: What its procedure computed.
        sent: Its tensors once they are defended.
    """
    return UpdateRecord(
        tensors=dict(zip(update.tensors, sent, strict=True)),
        kind=update.kind,
        buffers=update.buffers,
        count=update.count,
        learning_rate=update.learning_rate,
        steps=update.steps,
        mode=update.mode,
    )


def is_empty(update: Update) -> bool:
    """Whether all entries of an update are zero."""
    return not any(bool(tensor.any()) for tensor in update)


def check_update(sent: Update, defense: str, true: Update) -> None:
    """Makes sure that an update can be compared with others.

    Args:
        sent: The update that is sent.
        defense: The name of the defense that made it.
        true: The client's update that the defense was given.

    Raises:
        UnusableUpdateError: If it holds NaN or infinite values, or such large ones that their
            squares exceed its precision.
    """
    if not _is_finite(true):
        raise UnusableUpdateError(
            "the client's update holds NaN or infinite values before any defense: the client "
            "model's output for this image, or its gradient, is not finite; check its weights"
        )
    if not _is_finite(sent):
        raise UnusableUpdateError(
            f"the defense {defense!r} made NaN or infinite values of a finite update: check its "
            "parameters"
        )
    if _is_too_large(true):
        raise UnusableUpdateError(
            f"the client's update has a norm of {_norm(true):.3g} before any defense, whose square "
            f"is beyond {true[0].dtype}: check the client model's weights"
        )
    if _is_too_large(sent):
        raise UnusableUpdateError(
            f"the update that the defense {defense!r} sends has a norm of {_norm(sent):.3g}, whose "
            f"square is beyond {sent[0].dtype}: lower the defense's parameter"
        )


def check_record(record: UpdateRecord) -> None:
    """Makes sure that a recorded update, which is finite, can be compared with others.

    Args:
        record: What was sent.

    Raises:
        UnusableUpdateError: If its values are so large that their squares exceed its precision.
    """
    update = list(record.tensors.values())
    if _is_too_large(update):
        raise UnusableUpdateError(
            f"the update has a norm of {_norm(update):.3g}, whose square is beyond "
            f"{update[0].dtype}: the client's training diverged, or the file is damaged"
        )


def check_buffers(buffers: Mapping[str, Tensor]) -> None:
    """Makes sure that sent buffers can be compared.

    Args:
        buffers: The client model's buffers after training, by name.

    Raises:
        UnusableUpdateError: If one holds NaN or infinite values.
    """
    for name, buffer in buffers.items():
        if not bool(buffer.isfinite().all()):
            raise UnusableUpdateError(
                f"the client's training left NaN or infinite values in the buffer {name}: lower "
                "the learning rate of its optimiser, or check the client model's weights"
            )


def _is_finite(update: Update) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in update)


def _is_too_large(update: Update) -> bool:
    return _norm(update) ** 2 > torch.finfo(update[0].dtype).max


def _norm(update: Update) -> float:
    return float(sum(tensor.double().square().sum() for tensor in update)) ** 0.5
