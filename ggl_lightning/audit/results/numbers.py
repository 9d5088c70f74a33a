"""Numbers of results that JSON has no word for: an exact reconstruction's PSNR is infinite."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from ggl_lightning.audit.results.schema import columns

_INFINITIES = {"Infinity": math.inf, "-Infinity": -math.inf}

_NAMES = frozenset({column.name for column in columns() if column.kind == "text"} | {"class"})
"""Fields that hold what somebody has named: never numbers, whatever they read like."""


def dumps(content: Any, indent: int | None = None) -> str:
    """Strict JSON in which infinities are the texts ``Infinity`` and ``-Infinity``.

    Args:
        content: What is to be written.
        indent: As in `json.dumps`.

    Raises:
        ValueError: If it holds NaN: what is not known is to be None, with its reason.
    """
    return json.dumps(_texts(content), indent=indent, allow_nan=False)


def with_infinities(pairs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The fields of an object that `dumps` wrote, with numbers in the place of those texts."""
    return [(name, value if name in _NAMES else _number(value)) for name, value in pairs]


def without_nan(row: Mapping[str, Any]) -> dict[str, Any]:
    """A result with None, and the reason, in the place of numbers that are NaN.

    Args:
        row: The result; reasons come into its ``missing_metrics``.
    """
    undefined = [name for name, value in row.items() if _is_nan(value)]
    cleaned = {name: _known(value) for name, value in row.items()}
    if undefined:
        reasons = dict.fromkeys(undefined, "it is not a number (NaN)")
        cleaned["missing_metrics"] = {**reasons, **(cleaned.get("missing_metrics") or {})}
    return cleaned


def _texts(content: Any) -> Any:
    if isinstance(content, float) and math.isinf(content):
        return "Infinity" if content > 0 else "-Infinity"
    if isinstance(content, Mapping):
        return {name: _texts(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_texts(value) for value in content]
    return content


def _number(value: Any) -> Any:
    if isinstance(value, list):
        return [_number(each) for each in value]
    return _INFINITIES.get(value, value) if isinstance(value, str) else value


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _known(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _known(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_known(each) for each in value]
    return None if _is_nan(value) else value
