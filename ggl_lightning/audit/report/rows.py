"""What the row of a case or of a utility run looks like, and how one is read from its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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


def read_row(file: Path, fields: dict[str, tuple[type, ...]]) -> Row:
    """Reads one result.

    Args:
        file: A ``result.json`` or ``failure.json``.
        fields: `CASE_FIELDS` or `UTILITY_FIELDS`.

    Raises:
        UnreadableResultError: If it is not JSON (cut short, or holding NaN) or lacks a field.
        OSError: If it cannot be opened.
    """
    try:
        row = json.loads(file.read_bytes().decode(), parse_constant=_refuse_constant)
        json.dumps(row, ensure_ascii=False).encode()  # an escaped half of a character is none
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


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a number")
