"""How the row of a case or of a federated training is read from its file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ggl_lightning.audit.plan.controls import roles
from ggl_lightning.audit.results.numbers import with_infinities
from ggl_lightning.audit.results.schema import Row, Status


class UnreadableResultError(Exception):
    """A result file that exists and says nothing usable: its message is the reason."""


_MOST_SHARED = 10_000


class Shared:
    """Makes JSON's objects, one for all that are equal: rows then take a quarter of the memory.

    Settings and reasons are the same in most rows; so are all names. Objects with a list in them
    are mostly of one case alone and are not looked for. Nobody may change what is shared.
    """

    def __init__(self) -> None:
        self._known: dict[str, Row] = {}

    def __call__(self, pairs: list[tuple[str, Any]]) -> Row:
        """The object with these names and values."""
        pairs = with_infinities(pairs)
        made = {sys.intern(name): value for name, value in pairs}
        if any(isinstance(value, list) for value in made.values()):
            return made
        text = repr(pairs)  # tells 1 from 1.0 and True
        known = self._known.get(text)
        if known is None and len(self._known) < _MOST_SHARED:
            self._known[text] = made
        return made if known is None else known


def read_row(
    file: Path,
    fields: dict[str, tuple[type, ...]],
    make: Callable[[list[tuple[str, Any]]], Row] | None = None,
) -> Row:
    """Reads one result.

    Args:
        file: A ``result.json`` or ``failure.json``.
        fields: `CASE_FIELDS` or `UTILITY_FIELDS`.
        make: Makes the row and the objects in it; a `Shared`, which serves many rows, or None for
            one of its own.

    Raises:
        UnreadableResultError: If it is not JSON (cut short, or holding NaN) or lacks a field. An
            infinity that JSON has no word for is read all the same: earlier versions wrote it.
        OSError: If it cannot be opened.
    """
    try:
        text = file.read_bytes().decode()
        row = json.loads(text, parse_constant=_constant, object_pairs_hook=make or Shared())
        if "\\u" in text:  # an escaped half of a character is none
            json.dumps(row, ensure_ascii=False).encode()
    except ValueError as error:
        raise UnreadableResultError(f"not valid JSON: {error}") from error
    if not isinstance(row, dict):
        raise UnreadableResultError("not a JSON object")
    for name, types in fields.items():
        if name not in row:
            raise UnreadableResultError(f"has no {name!r}")
        if not isinstance(row[name], types) or isinstance(row[name], bool):
            raise UnreadableResultError(f"{name!r} is of the wrong type")
    if row["status"] not in [*Status]:
        raise UnreadableResultError(f"'status' is none of {', '.join(Status)}")
    if "role" in fields:
        _check_role(row)
        if row["image_index"] is None and not row.get("record"):
            raise UnreadableResultError("has neither an 'image_index' nor a 'record'")
    return row


def _check_role(row: Row) -> None:
    role = roles().get(row["role"])
    if role is None:
        raise UnreadableResultError(f"'role' is none of {', '.join(roles())}")
    for name, needed in (("defense", role.has_defense), ("attack", role.has_attack)):
        if needed and row[name] is None:
            raise UnreadableResultError(f"has no {name!r}")


def _constant(constant: str) -> float:
    if constant == "NaN":
        raise ValueError("NaN is not a number")
    return float(constant)
