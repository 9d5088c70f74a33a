"""What a server believes that a client did, from what its record says."""

from __future__ import annotations

from torch import nn

from ggl_lightning.clients.procedures.base import ClientProcedure
from ggl_lightning.clients.procedures.gradient import PlainGradient
from ggl_lightning.clients.procedures.optimizer import ClientSGD
from ggl_lightning.clients.procedures.state import Mode
from ggl_lightning.clients.procedures.training import LocalTraining
from ggl_lightning.clients.validation import has_batch_norm
from ggl_lightning.problems import Problems
from ggl_lightning.updates import UpdateRecord


def believed_procedure(record: UpdateRecord, model: nn.Module) -> ClientProcedure:
    """The plainest procedure that fits what is known of an update.

    A gradient is believed to be that of all images at once; a difference, so many steps of plain
    SGD on all images at once. Where more is known (momentum, batches, augmentation), give the
    procedure itself.

    Args:
        record: What was sent.
        model: The client model.

    Raises:
        UserError: With everything that is needed and not recorded.
    """
    problems = Problems()
    if record.mode is None and has_batch_norm(model):
        problems.add(
            "The record does not say in which mode batch-norm ran: say mode 'train' or 'eval' in "
            "the record, or give the procedure."
        )
    missing = [
        words
        for name, words in (("learning_rate", "learning rate"), ("steps", "number of steps"))
        if record.kind == "difference" and getattr(record, name) is None
    ]
    if missing:
        problems.add(
            f"The record of a difference does not say the {' and the '.join(missing)} of the local "
            "training: record them, or give the procedure."
        )
    problems.raise_if_any()
    mode: Mode = "train" if record.mode == "train" else "eval"
    sends_buffers = bool(record.buffers)
    if record.kind == "gradient":
        return PlainGradient(mode=mode, send_buffers=sends_buffers)
    assert record.learning_rate is not None
    return LocalTraining(
        ClientSGD(record.learning_rate),
        steps=record.steps,
        shuffle=False,
        mode=mode,
        send_buffers=sends_buffers,
    )
