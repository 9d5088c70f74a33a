"""Weights for a generator of any class, out of a file of any layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ggl_lightning.errors import UserError
from ggl_lightning.weight_files import differences, read_checkpoint, read_safetensors, some


def read_weights(path: str | Path, key: str | None = None, prefix: str = "") -> dict[str, Tensor]:
    """Reads a state dict; never runs code from the file.

    Args:
        path: A ``.safetensors`` file, or any file of ``torch.save`` (``.pt``, ``.pth``,
            ``.pth.tar``, ``.ckpt``, ``.bin``) with a state dict, alone or in a dictionary.
        key: Where in that dictionary it is; None for ``state_dict`` or the dictionary itself.
        prefix: Only tensors whose names start so are taken, without it: ``generator.`` for the
            generator inside a Lightning checkpoint.

    Returns:
        Tensors by name, on the CPU.

    Raises:
        UserError: If the file is missing, damaged, would need arbitrary pickle code, or holds no
            tensors under ``key`` and ``prefix``.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        if key is not None:
            raise UserError(
                f"state_dict_key is {key!r}, but {str(path)!r} is a safetensors file, which has no "
                "keys above its tensors: leave state_dict_key out."
            )
        tensors, _ = read_safetensors(path)
    else:
        tensors = _state_dict(read_checkpoint(path), key, path)
    chosen = {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
    if not chosen:
        raise UserError(
            f"No tensor of {str(path)!r} has a name that starts with {prefix!r}. "
            f"Found: {some(sorted(tensors))}."
        )
    return chosen


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], source: str | Path) -> None:
    """Puts tensors into a module that has exactly these, or says which do not fit.

    ``module.`` before all names, as ``DataParallel`` leaves it, is taken off unless the module's
    own names start so.

    Args:
        module: The module; it may be on the meta device, and then takes over the tensors.
        tensors: Tensors by name.
        source: The file they are from, for the error message.

    Raises:
        UserError: If a tensor is missing, has another shape, or has no place in the module.
    """
    expected = module.state_dict()
    if all(name.startswith("module.") for name in tensors) and not any(
        name.startswith("module.") for name in expected
    ):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    problems = differences(expected, tensors)
    if problems:
        raise UserError(
            f"The weights in {str(source)!r} do not fit {type(module).__name__}: {some(problems)}."
        )
    on_meta = any(tensor.is_meta for tensor in expected.values())
    # Not strict, because counters of batches may be missing.
    module.load_state_dict(dict(tensors), strict=False, assign=on_meta)


def _state_dict(saved: Any, key: str | None, path: Path) -> dict[str, Tensor]:
    if not isinstance(saved, Mapping):
        raise UserError(
            f"The checkpoint {str(path)!r} holds a {type(saved).__name__}: expected a state dict, "
            "or a dictionary with one."
        )
    inner = saved.get("state_dict", saved) if key is None else saved.get(key)
    if isinstance(inner, Mapping):
        tensors = {str(name): value for name, value in inner.items() if isinstance(value, Tensor)}
        if tensors:
            return tensors
    where = "its top level" if key is None else f"state_dict_key {key!r}"
    inside = [repr(name) for name, value in saved.items() if isinstance(value, Mapping)]
    raise UserError(
        f"The checkpoint {str(path)!r} has no state dict at {where}. "
        f"Dictionaries in it that state_dict_key could name: {some(inside)}."
    )
