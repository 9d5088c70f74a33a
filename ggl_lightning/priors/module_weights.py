"""Weights for a generator of any class, out of a file of any layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ggl_lightning.errors import UserError
from ggl_lightning.weight_files import check_finite, differences, read_weights, some
from ggl_lightning.wrapped_weights import find_weights


def load_weights(
    module: nn.Module,
    path: str | Path,
    key: str | None = None,
    prefix: str = "",
    others_ignored: bool = False,
) -> None:
    """Puts a file's tensors into a module that has exactly these; never runs code from the file.

    Args:
        module: The module; it may be on the meta device, and then takes over the tensors.
        path: A ``.safetensors`` file, or any file of ``torch.save`` (``.pt``, ``.pth``,
            ``.pth.tar``, ``.ckpt``, ``.bin``) with a state dict, in whatever `find_weights` finds
            it.
        key: Where in the file's dictionary it is; None for wherever there is one that fits.
        prefix: Only tensors whose names start so are taken, without it: ``generator.`` for the
            generator inside a Lightning checkpoint.
        others_ignored: Whether tensors that have no place in the module are left out.

    Raises:
        UserError: If the file is missing, damaged, would need arbitrary pickle code, or holds no
            tensors under ``key`` and ``prefix``; if a tensor is missing, has another shape, has no
            place in the module or is not finite; or if several sets of tensors would fit.
    """
    saved, _ = read_weights(path)
    if key is not None:
        saved = _inside(saved, key, path)
    if prefix:
        saved = _after(saved, prefix, path)
    expected = module.state_dict()

    def misfits(tensors: Mapping[str, Any]) -> list[str]:
        if others_ignored:
            tensors = {name: tensor for name, tensor in tensors.items() if name in expected}
        return differences(expected, tensors)

    found = find_weights(saved, expected, misfits, path)
    if found.misfits:
        raise UserError(
            f"The weights in {str(path)!r} do not fit {type(module).__name__}: "
            f"{some(found.misfits)}. The file holds {found.contents}."
        )
    tensors = {name: tensor for name, tensor in found.tensors.items() if name in expected}
    check_finite(tensors, path)
    on_meta = any(tensor.is_meta for tensor in expected.values())
    # Not strict, because counters of batches may be missing.
    module.load_state_dict(tensors, strict=False, assign=on_meta)


def _inside(saved: Any, key: str, path: str | Path) -> Any:
    if Path(path).suffix == ".safetensors":
        raise UserError(
            f"state_dict_key is {key!r}, but {str(path)!r} is a safetensors file, which has no "
            "keys above its tensors: leave state_dict_key out."
        )
    inner = saved.get(key) if isinstance(saved, Mapping) else None
    if isinstance(inner, Mapping) and inner:
        return inner
    keys = saved if isinstance(saved, Mapping) else {}
    inside = [repr(name) for name, value in keys.items() if isinstance(value, Mapping)]
    raise UserError(
        f"The checkpoint {str(path)!r} has no state dict at state_dict_key {key!r}. "
        f"Dictionaries in it that state_dict_key could name: {some(inside)}."
    )


def _after(saved: Any, prefix: str, path: str | Path) -> Any:
    """The same dictionaries with only those tensors whose names start with a prefix."""
    names: list[str] = []

    def chosen(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        inner = {}
        for name, entry in value.items():
            if isinstance(entry, Mapping):
                inner[name] = chosen(entry)
            else:
                names.append(str(name))
                if str(name).startswith(prefix):
                    inner[str(name).removeprefix(prefix)] = entry
        return inner

    inside = chosen(saved)
    if not any(name.startswith(prefix) for name in names):
        raise UserError(
            f"No tensor of {str(path)!r} has a name that starts with {prefix!r}. "
            f"Found: {some(sorted(names))}."
        )
    return inside
