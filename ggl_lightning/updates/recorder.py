"""Recording an update in any PyTorch training loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import torch
from torch import nn

from ggl_lightning.errors import UserError
from ggl_lightning.updates.observer import batch_norm_mode, observed
from ggl_lightning.updates.record import Mode, Recording, UpdateRecord, difference
from ggl_lightning.updates.recording_file import write_recording
from ggl_lightning.updates.state_layout import StateLayout, copied
from ggl_lightning.weight_files import some


@contextmanager
def record_update(
    model: nn.Module,
    path: str | Path,
    *,
    count: int | None = None,
    buffers_sent: bool = True,
    metadata: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Records what a training changes, which runs in the block of a ``with`` statement.

    The difference of the weights at the end and at the beginning of the block is written when it
    ends; if it raises, nothing is. Learning rate, steps, optimiser and mode are observed.

    Args:
        model: The client model, which the block trains in place.
        path: File to write, ``*.safetensors``; it must not exist.
        count: Private images behind the update, if they are to be recorded.
        buffers_sent: Whether the client's system sends the buffers after training too.
        metadata: Short texts to be kept with it: round, client, ...

    Raises:
        UserError: If the file exists or cannot be written, or the model has parameters without
            values; at the end, if the model's tensors are others than at the beginning.
    """
    path = _new_file(path)
    layout = StateLayout.of(model)
    _check_values(model)
    before = copied(model.state_dict())
    modes: set[str | None] = set()
    handle = model.register_forward_pre_hook(
        lambda module, _inputs: (
            modes.add(batch_norm_mode(module)) if torch.is_grad_enabled() else None
        )
    )
    try:
        with observed(list(model.parameters())) as training:
            yield
    finally:
        handle.remove()
    after = copied(model.state_dict())
    if StateLayout.of(model).shapes != layout.shapes:
        raise UserError(
            "The client model has other tensors after the training than before: record a model "
            "that is built before the training begins."
        )
    changes = {name: difference(before[name], after[name]) for name in layout.parameters}
    trainable = StateLayout.of(model).trainable
    sent = {n: change for n, change in changes.items() if n in trainable or bool(change.any())}
    record = UpdateRecord(
        sent,
        "difference",
        {name: after[name] for name in layout.buffers} if buffers_sent else {},
        count,
        training.learning_rate,
        training.steps,
        cast(Mode | None, modes.pop() if len(modes) == 1 else None),
        {**_framework(), "model": type(model).__name__, **training.metadata, **(metadata or {})},
    )
    write_recording(path, _recording(record, layout, before))


def record_gradient(
    model: nn.Module,
    path: str | Path,
    *,
    count: int | None = None,
    mode: Mode | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Records the gradients in a model's ``.grad``, to be called between ``backward`` and ``step``.

    Args:
        model: The client model, with the weights at which they were taken. Parameters without a
            gradient are recorded as not sent.
        path: File to write, ``*.safetensors``; it must not exist.
        count: Private images behind the gradient, if they are to be recorded.
        mode: How batch-norm ran; as it is set now if None.
        metadata: Short texts to be kept with it: round, client, ...

    Raises:
        UserError: If there is no gradient, or the file exists or cannot be written.
    """
    path = _new_file(path)
    layout = StateLayout.of(model)
    _check_values(model)
    gradients = {
        name: parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    if not gradients:
        raise UserError(
            "The client model has no gradients: call record_gradient after loss.backward() and "
            "before optimizer.step() or zero_grad()."
        )
    sparse = [name for name, gradient in gradients.items() if gradient.is_sparse]
    if sparse:
        raise UserError(f"These gradients are sparse: {some(sparse)}. Record dense ones.")
    record = UpdateRecord(
        copied(gradients),
        "gradient",
        count=count,
        mode=mode or cast(Mode | None, batch_norm_mode(model)),
        metadata={**_framework(), "model": type(model).__name__, **(metadata or {})},
    )
    write_recording(path, _recording(record, layout, copied(model.state_dict())))


def _recording(
    record: UpdateRecord, layout: StateLayout, before: Mapping[str, torch.Tensor]
) -> Recording:
    return Recording(
        record,
        {name: before[name] for name in layout.parameters},
        {name: before[name] for name in layout.buffers},
        tuple(name for name in layout.parameters if name not in record.tensors),
    )


def _framework() -> dict[str, str]:
    return {"framework": "pytorch", "framework_version": torch.__version__}


def _new_file(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix != ".safetensors":
        raise UserError(f"The output {str(path)!r} must end in .safetensors.")
    if path.exists():
        raise UserError(f"{str(path)!r} exists: name another file, or move this one away.")
    return path


def _check_values(model: nn.Module) -> None:
    empty = [name for name, tensor in model.state_dict().items() if tensor.is_meta]
    if empty:
        raise UserError(f"These tensors of the client model have no values yet: {some(empty)}.")
