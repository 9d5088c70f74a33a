"""Recorded updates on disk: one safetensors file each, see ``docs/reference/update_file.md``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from ggl_lightning.errors import UserError, check_choice
from ggl_lightning.problems import Problems
from ggl_lightning.updates.record import Recording, UpdateRecord, difference, hash_by_name
from ggl_lightning.weight_files import read_safetensors, some, write_safetensors

FORMAT = "ggl_lightning update"
VERSION = 1

UPDATE, AFTER, BEFORE = "update/", "weights_after/", "weights_before/"
BUFFERS_BEFORE, BUFFERS_AFTER = "buffers_before/", "buffers_after/"
_PREFIXES = (UPDATE, AFTER, BEFORE, BUFFERS_BEFORE, BUFFERS_AFTER)

# What each field of the description may be; none of them must be there but the kind.
_FIELDS: dict[str, tuple[type, ...]] = {
    "kind": (str,),
    "count": (int,),
    "learning_rate": (int, float),
    "steps": (int,),
    "mode": (str,),
    "parameters": (list,),
    "not_sent": (list,),
    "weights_hash": (str,),
    "metadata": (dict,),
}


def write_recording(path: str | Path, recording: Recording) -> None:
    """Writes a recording; the file appears when it is complete.

    Args:
        path: File to write, ``*.safetensors``; its folder is created.
        recording: What to write.

    Raises:
        UserError: If the path does not end in ``.safetensors`` or cannot be written.
    """
    record = recording.record
    weights_hash = hash_by_name(recording.weights) if recording.weights else recording.weights_hash
    description = {
        "kind": record.kind,
        "count": record.count,
        "learning_rate": record.learning_rate,
        "steps": record.steps,
        "mode": record.mode,
        # safetensors keeps no order of its own.
        "parameters": list(dict.fromkeys([*recording.weights, *record.tensors])),
        "not_sent": list(recording.not_sent),
        "weights_hash": weights_hash,
        "metadata": dict(record.metadata),
    }
    known = {name: value for name, value in description.items() if value not in (None, {}, [])}
    tensors = {
        prefix + name: tensor
        for prefix, group in (
            (UPDATE, record.tensors),
            (BEFORE, recording.weights),
            (BUFFERS_BEFORE, recording.buffers),
            (BUFFERS_AFTER, record.buffers),
        )
        for name, tensor in group.items()
    }
    header = {"format": FORMAT, "format_version": str(VERSION), "update": json.dumps(known)}
    write_safetensors(path, tensors, header)


def read_recording(path: str | Path) -> Recording:
    """Reads a recording; never runs code from the file.

    Of a file with the weights after training instead of an update, the update is the difference.

    Args:
        path: The file.

    Returns:
        The recording, on the CPU, in the file's own names; `fit_to_model` says whether it suits a
        client model.

    Raises:
        UserError: With everything that is wrong with it: missing, truncated, not a recording, of a
            newer version, a difference whose weights before are missing or are others than the
            hash says, fields that are unknown or of the wrong kind.
    """
    tensors, header = read_safetensors(path)
    try:
        return _recording(tensors, header)
    except UserError as error:
        raise UserError(*(f"{str(path)!r}: {problem}" for problem in error.problems)) from error


def _recording(tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> Recording:
    _check_format(header)
    problems = Problems()
    said = _description(header.get("update", "{}"), problems)
    groups = _grouped(tensors, problems)
    update = _update(groups, said.get("kind"), problems)
    weights, weights_hash = groups[BEFORE], said.get("weights_hash")
    if weights and weights_hash and hash_by_name(weights) != weights_hash:
        problems.add(
            "The weights before training are not those that weights_hash names, so the update may "
            "be a difference from another base. Record both in one round."
        )
    problems.raise_if_any()
    order = said.get("parameters", [])
    record = UpdateRecord(
        _in_order(update, order),
        said["kind"],
        groups[BUFFERS_AFTER],
        said.get("count"),
        said.get("learning_rate"),
        said.get("steps"),
        said.get("mode"),
        said.get("metadata", {}),
    )
    return Recording(
        record,
        _in_order(weights, order),
        groups[BUFFERS_BEFORE],
        tuple(said.get("not_sent", [])),
        hash_by_name(weights) if weights else weights_hash,
    )


def _check_format(header: Mapping[str, str]) -> None:
    if header.get("format") != FORMAT:
        raise UserError(
            f"This is no recorded update: its metadata has no format of {FORMAT!r}. Write it with "
            "write_recording or one of the recorders."
        )
    version = header.get("format_version", "")
    if not version.isdecimal():
        raise UserError(f"format_version is {version!r}: expected a whole number.")
    if int(version) > VERSION:
        raise UserError(
            f"This is version {version} of the format, and this installation reads up to "
            f"{VERSION}: install a newer ggl-lightning."
        )


def _description(text: str, problems: Problems) -> dict[str, Any]:
    """What the file says of the update, as far as it can be understood."""
    try:
        said = json.loads(text)
    except json.JSONDecodeError as error:
        problems.add(f"The description under 'update' is not JSON: {error}.")
        return {}
    if not isinstance(said, dict):
        problems.add(f"The description under 'update' is {text[:40]!r}: expected a JSON object.")
        return {}
    understood = {}
    for name, value in said.items():
        if name not in _FIELDS:
            problems.of(partial(check_choice, "A field of the description", name, _FIELDS))
        elif value is not None and not _is_of(value, _FIELDS[name]):
            kinds = " or ".join(kind.__name__ for kind in _FIELDS[name])
            problems.add(f"The field {name} is {value!r}: expected {kinds} in JSON.")
        elif value is not None:
            understood[name] = value
    if "kind" not in said:
        problems.add("The field kind is missing: it must be 'gradient' or 'difference'.")
    return understood


def _is_of(value: object, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool) or not isinstance(value, kinds):
        return False
    inner = list(value.values()) if isinstance(value, dict) else value
    return not isinstance(inner, list) or all(isinstance(entry, str) for entry in inner)


def _grouped(tensors: Mapping[str, Tensor], problems: Problems) -> dict[str, dict[str, Tensor]]:
    """The tensors by what their names begin with, under the rest of the name."""
    groups: dict[str, dict[str, Tensor]] = {prefix: {} for prefix in _PREFIXES}
    strangers = []
    for name, tensor in tensors.items():
        beginning = name.partition("/")[0] + "/"
        if beginning in groups:
            groups[beginning][name.removeprefix(beginning)] = tensor
        else:
            strangers.append(name)
    if strangers:
        problems.add(
            f"These tensors are of no known group: {some(strangers)}. Names begin with one of "
            f"{', '.join(_PREFIXES)}."
        )
    return groups


def _update(
    groups: Mapping[str, dict[str, Tensor]], kind: str | None, problems: Problems
) -> dict[str, Tensor]:
    """What was sent: as it is in the file, or the difference between its two sets of weights."""
    before, after = groups[BEFORE], groups[AFTER]
    if not after:
        return groups[UPDATE]
    if groups[UPDATE]:
        problems.add(
            f"There are both an update ({UPDATE}) and weights after training ({AFTER}): only one "
            "can be what was sent."
        )
    if kind == "gradient":
        problems.add(f"A gradient cannot be had from weights after training ({AFTER}).")
    base = [name for name in after if name not in before]
    if base:
        problems.add(
            "A difference needs its base: there are weights after training, but none before "
            f"({BEFORE}), for {some(base)}."
        )
    apart = [
        f"{name} is {tuple(before[name].shape)} before and {tuple(tensor.shape)} after"
        for name, tensor in after.items()
        if name in before and before[name].shape != tensor.shape
    ]
    if apart:
        problems.add(f"Weights before and after training differ in shape: {some(apart)}.")
    if base or apart:
        return {}
    return {name: difference(before[name], tensor) for name, tensor in after.items()}


def _in_order(tensors: Mapping[str, Tensor], order: Iterable[str]) -> dict[str, Tensor]:
    """In the given order; names that are not in it come last."""
    place = {name: position for position, name in enumerate(order)}
    return dict(sorted(tensors.items(), key=lambda item: place.get(item[0], len(place))))
