"""A module's weights, found in whatever training scripts wrap them in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ggl_lightning.errors import UserError
from ggl_lightning.weight_files import some

_WRAPPERS = frozenset(
    {
        *("module", "model", "net", "network", "backbone", "encoder", "client_model"),
        *("generator", "netG", "G", "average", "ema", "ema_model", "model_ema"),
    }
)
"""Attributes that a wrapper commonly keeps a module in, beside others that are not wanted."""

_COMPILED = "_orig_mod."  # what torch.compile puts into names, at any place
_DEEPEST = 4  # dictionaries within dictionaries


@dataclass(frozen=True)
class FoundWeights:
    """The tensors of a file that come closest to a module's.

    Attributes:
        tensors: By the module's own names.
        misfits: What keeps them from being loaded, one phrase each; empty if they fit.
        contents: What the file holds, for a message.
    """

    tensors: dict[str, Tensor]
    misfits: list[str]
    contents: str


@dataclass(frozen=True)
class _Place:
    key: str
    prefix: str
    tensors: dict[str, Tensor]
    misfits: list[str]

    def __str__(self) -> str:
        key = f"under {self.key!r}" if self.key else "at the top"
        return f"{key}, names starting with {self.prefix!r}" if self.prefix else key


def find_weights(
    saved: Any,
    names: Collection[str],
    misfits: Callable[[Mapping[str, Tensor]], list[str]],
    path: str | Path,
    preferred: str | None = None,
) -> FoundWeights:
    """Finds a module's tensors in what a file holds.

    A state dict may be the file's whole content or lie in dictionaries (``state_dict``,
    ``model_state_dict``, ``model``, ...), to a depth of four. Before all its names there may be any
    prefix; if there are tensors with other names too, one made of what wrappers commonly call the
    wrapped (``module.``, ``model.``, ``backbone.``, ...). ``_orig_mod.`` of ``torch.compile`` is
    taken off everywhere. What precedes all of the module's own names may be missing in the file.

    Args:
        saved: What was read.
        names: Names of tensors of the module, all of them or what tells it from others.
        misfits: Says of tensors, under the module's names, what keeps them from being loaded.
        path: The file, for messages.
        preferred: Of several sets of tensors that fit, the one with this prefix is taken.

    Returns:
        The tensors that fit, or come closest.

    Raises:
        UserError: If there are no tensors, or several sets that differ would fit.
    """
    found = _tensor_dicts(saved)
    if not found:
        raise UserError(
            f"The checkpoint {str(path)!r} holds {_describe(saved)}: expected a state dict, "
            'bare or as in {"state_dict": ...}.'
        )
    places: list[_Place] = []
    for lead in _leads(names):
        places += _places(found, names, misfits, lead)
        fitting = [place for place in places if not place.misfits]
        if fitting:
            chosen = _the_one(fitting, path, preferred)
            break
    else:
        if not places:
            key = max(found, key=lambda key: len(found[key]))
            places.append(_Place(key, "", found[key], misfits(found[key])))
        chosen = min(places, key=lambda place: len(place.misfits))
    return FoundWeights(chosen.tensors, chosen.misfits, _contents(saved, found))


def tensor_dict(saved: Any, key: str) -> dict[str, Tensor]:
    """The tensors of one of a file's dictionaries; empty if there are none.

    Args:
        saved: What was read.
        key: The dictionary's key.
    """
    return _tensor_dicts(saved.get(key) if isinstance(saved, Mapping) else None).get("", {})


def _tensor_dicts(saved: Any, key: str = "", depth: int = 0) -> dict[str, dict[str, Tensor]]:
    """All dictionaries that hold tensors, by the keys that lead to them."""
    if not isinstance(saved, Mapping) or depth > _DEEPEST:
        return {}
    tensors = {
        str(name).replace(_COMPILED, ""): value
        for name, value in saved.items()
        if isinstance(value, Tensor)
    }
    dicts = {key: tensors} if tensors else {}
    for name, value in saved.items():
        dicts.update(_tensor_dicts(value, f"{key}.{name}" if key else str(name), depth + 1))
    return dicts


def _leads(names: Collection[str]) -> list[str]:
    """What a file may lack before the module's names: nothing, or what they have in common."""
    leads = [""]
    first = next(iter(names), "").split(".")
    for parts in range(1, len(first)):
        lead = ".".join(first[:parts]) + "."
        if not all(name.startswith(lead) for name in names):
            break
        leads.append(lead)
    return leads


def _places(
    found: dict[str, dict[str, Tensor]],
    names: Collection[str],
    misfits: Callable[[Mapping[str, Tensor]], list[str]],
    lead: str,
) -> list[_Place]:
    """Where some of the names are, after some prefix."""
    wanted = {name.removeprefix(lead) for name in names}
    places = []
    for key, tensors in found.items():
        prefixes: Counter[str] = Counter()
        for name in tensors:
            parts = name.split(".")
            for start in range(len(parts)):
                if ".".join(parts[start:]) in wanted:
                    prefixes["".join(f"{part}." for part in parts[:start])] += 1
        for prefix in prefixes:
            inside = {
                lead + name.removeprefix(prefix): tensor
                for name, tensor in tensors.items()
                if name.startswith(prefix)
            }
            common = set(prefix.split(".")[:-1]) <= _WRAPPERS
            if common or len(inside) == len(tensors):
                places.append(_Place(key, prefix, inside, misfits(inside)))
    return places


def _the_one(fitting: list[_Place], path: str | Path, preferred: str | None) -> _Place:
    for place in fitting:
        if place.prefix == preferred:
            return place
    first = fitting[0]
    if all(_equal(first.tensors, place.tensors) for place in fitting[1:]):
        return first
    raise UserError(
        f"The checkpoint {str(path)!r} holds several sets of weights that fit and differ: "
        f"{some([str(place) for place in fitting])}. Save the one you mean alone."
    )


def _equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(tensor, second[name]) for name, tensor in first.items()
    )


def _describe(saved: Any) -> str:
    if not isinstance(saved, Mapping):
        return f"a {type(saved).__name__}"
    return f"no tensors, but a dictionary with the keys {some([repr(key) for key in saved])}"


def _contents(saved: Any, found: dict[str, dict[str, Tensor]]) -> str:
    """The file's keys, and the names of the tensors in each dictionary of them."""
    parts = []
    for key, tensors in found.items():
        where = f" under {key!r}" if key else ""
        parts.append(f"{len(tensors)} tensors{where} ({', '.join(list(tensors)[:2])}, ...)")
    others = [repr(key) for key, value in saved.items() if not isinstance(value, Tensor | Mapping)]
    return some(parts) + (f"; beside them {some(others)}" if others else "")
