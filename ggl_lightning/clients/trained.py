"""Trained client models on disk: what training leaves, what an audit loads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from torch import Tensor, nn

from ggl_lightning.command_names import as_called
from ggl_lightning.errors import UserError
from ggl_lightning.weight_files import (
    check_finite,
    differences,
    read_checkpoint,
    read_weights,
    some,
    write_safetensors,
)
from ggl_lightning.wrapped_weights import find_weights, tensor_dict

CHECKPOINT_KEY = "client"
"""Where a checkpoint of client training keeps its `ClientMetadata`."""

_MODULE_NAME = "client_model."  # the client model's attribute in the training module


class ClientMetadata(TypedDict):
    """What is known of a trained client model; None where its file does not say.

    Attributes:
        class_path: Its class, as in YAML.
        val_accuracy: Share of validation images that these very weights classify rightly, 0 to 1.
        epoch: Epoch of training, counted from 0, at whose end or in which it was saved.
        provenance: Free text: data, command and seed of the training.
    """

    class_path: str | None
    val_accuracy: float | None
    epoch: int | None
    provenance: str | None


def class_path(model: nn.Module) -> str:
    """A model's class as YAML would name it."""
    return f"{type(model).__module__}.{type(model).__qualname__}"


def load_trained_client(model: nn.Module, path: str | Path) -> ClientMetadata:
    """Loads trained weights into a client model; never runs code from the file.

    Reads what ``ggl-train-client export`` writes, checkpoints of ``ggl-train-client fit``, and
    files of a state dict such as torchvision's, in whatever `find_weights` finds it.

    Args:
        model: The client model, changed in place. If an error is raised, it is unchanged.
        path: The file.

    Returns:
        What the file says of them.

    Raises:
        UserError: If the file is missing or damaged, would need arbitrary pickle code, holds
            values that are not finite or several sets of weights that would fit, or belongs to
            another architecture; the message then names tensors and shapes.
    """
    saved, texts = read_weights(path)
    metadata = _metadata(texts)
    if isinstance(saved, Mapping) and {CHECKPOINT_KEY, "state_dict"} <= saved.keys():
        metadata = _metadata(saved[CHECKPOINT_KEY])
        saved = _client_tensors(saved)
    expected = model.state_dict()
    found = find_weights(saved, expected, lambda tensors: differences(expected, tensors), path)
    if found.misfits:
        trained = metadata["class_path"]
        of = f", trained as {trained}," if trained else ""
        raise UserError(
            f"The weights in {str(path)!r}{of} do not fit the client model {class_path(model)}: "
            f"{some(found.misfits)}. The file holds {found.contents}. Give the client model the "
            "class and settings it was trained with."
        )
    check_finite(found.tensors, path)
    model.load_state_dict({**expected, **found.tensors})
    return metadata


def export_trained_client(ckpt: str | Path, output: str | Path, provenance: str) -> ClientMetadata:
    """Writes the client model of a training checkpoint as a bare safetensors file.

    Args:
        ckpt: Checkpoint of ``ggl-train-client fit``.
        output: File to write, ``*.safetensors``, with the metadata inside.
        provenance: Free text kept in the file: data, command and seed of the training.

    Returns:
        The metadata written.

    Raises:
        UserError: If the checkpoint is not one of client training, its weights are not finite, or
            a file cannot be read or written.
    """
    saved = read_training_checkpoint(ckpt)
    metadata = _metadata({**saved[CHECKPOINT_KEY], "provenance": provenance})
    tensors = _client_tensors(saved)
    check_finite(tensors, ckpt)
    texts = {name: str(value) for name, value in metadata.items() if value is not None}
    write_safetensors(output, tensors, texts)
    return metadata


def read_training_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint of ``ggl-train-client fit``.

    Args:
        path: The file.

    Raises:
        UserError: If it is missing, damaged, or something else.
    """
    saved = read_checkpoint(path)
    if not isinstance(saved, dict) or not isinstance(saved.get(CHECKPOINT_KEY), Mapping):
        raise UserError(
            f"{str(path)!r} is not a checkpoint of client training "
            f"({as_called('ggl-train-client')} fit)."
        )
    return saved


def _client_tensors(saved: Mapping[str, Any]) -> dict[str, Tensor]:
    """The client model's tensors in a training checkpoint, which may hold others too."""
    return {
        name.removeprefix(_MODULE_NAME): tensor
        for name, tensor in tensor_dict(saved, "state_dict").items()
        if name.startswith(_MODULE_NAME)
    }


def _metadata(found: Mapping[str, Any]) -> ClientMetadata:
    accuracy, epoch = found.get("val_accuracy"), found.get("epoch")
    return ClientMetadata(
        class_path=found.get("class_path"),
        val_accuracy=None if accuracy is None else float(accuracy),
        epoch=None if epoch is None else int(epoch),
        provenance=found.get("provenance"),
    )
