"""What the row of a case or of a utility run looks like, and how one is read from its file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ggl_lightning.audit.results.numbers import with_infinities

Row = dict[str, Any]
"""A result as it is on disk; nested only in parameters, guarantees and details."""

ROLES = ("attack", "null_random", "null_noise", "null_other", "bound")
"""An attack, and the controls that say what its numbers mean."""

STATUSES = ("done", "failed")

CASE_FIELDS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "key": (str,),
    "role": (str,),
    "status": (str,),
    "image_index": (int,),
    "defense": (str, type(None)),
    "attack": (str, type(None)),
    "seed": (int,),
}
"""Fields without which a case's row cannot be placed, with their types."""

UTILITY_FIELDS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "key": (str,),
    "status": (str,),
    "defense": (str,),
    "seed": (int,),
}
"""The same of a utility run's row."""

METRICS = (
    "mse",
    "psnr",
    "psnr_published",
    "ssim",
    "lpips_vgg",
    "lpips_alex",
    "fmse",
    "mse_r",
    "rmse_r",
    "tv_reconstruction",
    "tv_private",
)
"""Metrics of a reconstruction, in the order in which they are shown."""

COLUMNS = (
    *("name", "key", "role", "status", "error", "image_index", "images", "defense", "attack"),
    *("seed", "labels", "inferred_labels", "assumed_labels", "label_correct", "label_accuracy"),
    *("label_margin", *METRICS, "psnr_random_mean", "rank_pixel", "rank_feature", "decoys"),
    *("attribute_agreement", "loss", "trial", "rounds", "evaluations", "seconds", "stop_reason"),
    *("defense_parameters", "defense_estimate", "defense_guarantee", "missing_metrics", "details"),
)
"""Fields of a case's row, in the order in which tables have them."""

TEXT_COLUMNS = frozenset(
    {"name", "key", "role", "status", "error", "defense", "attack", "stop_reason"}
    | {"labels", "inferred_labels", "assumed_labels"}
    | {"defense_parameters", "defense_estimate", "defense_guarantee", "missing_metrics", "details"}
)
"""Columns that are text even where every value is missing."""


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
    if row["status"] not in STATUSES:
        raise UnreadableResultError(f"'status' is none of {', '.join(STATUSES)}")
    if "role" in fields:
        _check_role(row)
    return row


def _check_role(row: Row) -> None:
    if row["role"] not in ROLES:
        raise UnreadableResultError(f"'role' is none of {', '.join(ROLES)}")
    for name, without in (("defense", ("null_random", "bound")), ("attack", ("null_random",))):
        if row[name] is None and row["role"] not in without:
            raise UnreadableResultError(f"has no {name!r}")


def _constant(constant: str) -> float:
    if constant == "NaN":
        raise ValueError("NaN is not a number")
    return float(constant)
