"""What can be said of an update before it is attacked: whether it holds anything, and numbers."""

from __future__ import annotations

import torch

from ggl_lightning.clients import Update

EMPTY = "the received update is empty: all its entries are zero, so it says nothing of the image"
"""What is noted of a case with such an update."""


class UnusableUpdateError(Exception):
    """An update that no attack can be run on; the message says whose doing it is."""


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


def _is_finite(update: Update) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in update)


def _is_too_large(update: Update) -> bool:
    return _norm(update) ** 2 > torch.finfo(update[0].dtype).max


def _norm(update: Update) -> float:
    return float(sum(tensor.double().square().sum() for tensor in update)) ** 0.5
