"""Files of weights: read as data only, written whole or not at all, and compared with a module."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ggl_lightning.atomic_file import replacing
from ggl_lightning.errors import UserError
from ggl_lightning.user_paths import user_path

_SHOWN = 6  # names in an error message

# A damaged file is a damaged program for torch's own restricted unpickler, which trips over it in
# as many ways as there are.
_DAMAGED = (
    *(RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError),
    *(AssertionError, OverflowError, MemoryError, struct.error, zipfile.BadZipFile),
)


def read_checkpoint(path: str | Path) -> Any:
    """Reads a file of ``torch.save`` on the CPU, tensors and plain containers only.

    Args:
        path: The file.

    Returns:
        What was saved.

    Raises:
        UserError: If the file is missing, damaged, or would need arbitrary pickle code.
    """
    path = _existing(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = "is damaged or not a PyTorch checkpoint"
        if path.read_bytes()[:2] == b"PK":  # torch's own format is a zip archive
            reason = (
                "holds objects other than tensors and plain containers; reading them would run "
                "code from the file, which is never done. Save its state dict alone"
            )
        raise UserError(f"The checkpoint {str(path)!r} {reason}.") from error
    except _DAMAGED as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"Cannot read the checkpoint {str(path)!r}: {first_line}.") from error


def read_safetensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads a safetensors file.

    Args:
        path: The file.

    Returns:
        Its tensors on the CPU by name, and its metadata.

    Raises:
        UserError: If the file is missing or damaged.
    """
    path = _existing(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{str(path)!r} is damaged or not a safetensors file: {error}.") from error


def write_safetensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]
) -> None:
    """Writes a safetensors file; it appears when it is complete.

    Args:
        path: File to write, ``*.safetensors``; its folder is created.
        tensors: What to write.
        metadata: Short texts kept in the file.

    Raises:
        UserError: If the path does not end in ``.safetensors`` or cannot be written.
    """
    path = user_path("output", path)
    if path.suffix != ".safetensors":
        raise UserError(f"The output {str(path)!r} must end in .safetensors.")
    # Copies: safetensors refuses tensors that share memory.
    copies = {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished:
            # `save_file` would write into a file of its own first, and leave it there when killed.
            unfinished.write_bytes(save(copies, metadata))
    except (OSError, SafetensorError) as error:
        raise UserError(f"Cannot write {str(path)!r}: {error}.") from error


def read_weights(path: str | Path) -> tuple[Any, dict[str, str]]:
    """Reads a file of weights, ``.safetensors`` or one of ``torch.save``.

    Args:
        path: The file.

    Returns:
        What it holds, for `find_weights`, and its metadata, if it is a safetensors file.

    Raises:
        UserError: If the file is missing, damaged, or would need arbitrary pickle code.
    """
    if Path(path).suffix == ".safetensors":
        return read_safetensors(path)
    return read_checkpoint(path), {}


def check_finite(tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Raises if weights are infinite or undefined: no result of theirs would mean anything.

    Args:
        tensors: By name.
        path: Where they are from, for the message.

    Raises:
        UserError: If one of them holds such a value.
    """
    unusable = [
        name
        for name, tensor in tensors.items()
        if not tensor.is_meta and not tensor.isfinite().all()  # on meta there are no values
    ]
    if unusable:
        raise UserError(
            f"The weights in {str(path)!r} hold infinite or undefined values: {some(unusable)}. "
            "The training diverged, or the file is damaged: take an earlier checkpoint."
        )


def differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """What keeps tensors from being loaded, one phrase each; empty if they fit.

    Batch-norm's counters of batches (``num_batches_tracked``) may be missing: files from before
    PyTorch counted lack them, and evaluation ignores them.

    Args:
        expected: The module's state dict.
        found: The tensors to load.
    """
    problems = []
    for name, tensor in expected.items():
        if name not in found:
            if not name.endswith("num_batches_tracked"):
                problems.append(f"{name} is missing")
        elif found[name].shape != tensor.shape:
            problems.append(f"{name} is {tuple(found[name].shape)}, expected {tuple(tensor.shape)}")
    return problems + [f"{name} is not expected" for name in found if name not in expected]


def nonfinite_names(module: nn.Module) -> list[str]:
    """Names of a module's parameters and buffers that hold infinite or undefined values."""
    return [
        name
        for name, tensor in module.state_dict().items()
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and not tensor.isfinite().all()
    ]


def some(phrases: list[str]) -> str:
    """The first few of many phrases, for a message."""
    more = f" and {len(phrases) - _SHOWN} more" if len(phrases) > _SHOWN else ""
    return ("; ".join(phrases[:_SHOWN]) or "nothing") + more


def _existing(path: str | Path) -> Path:
    path = user_path("the checkpoint", path)
    if not path.is_file():
        raise UserError(f"The checkpoint {str(path)!r} does not exist or is not a file.")
    return path
