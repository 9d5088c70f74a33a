"""Writes the JSON schemas of what an audit leaves behind, for programs that read it.

``python -m ggl_lightning.audit.results.schema.json_schema`` writes them beside this file.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ggl_lightning.audit.results.schema.columns import CASE_FIELDS, RANKS, TOP, columns
from ggl_lightning.audit.results.schema.metrics import METRICS, headline_metrics, leakage_metrics
from ggl_lightning.audit.results.schema.statuses import Status

Schema: TypeAlias = dict[str, Any]

FILES: tuple[Literal["statistics", "summary"], ...] = ("statistics", "summary")
"""The files that have a schema: ``statistics.json`` and ``summary.json``."""

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NUMBER: Schema = {"type": "number"}
_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_NUMBER_OR_NULL: Schema = {"type": ["number", "null"]}
_OBJECT_OR_NULL: Schema = {"type": ["object", "null"]}
_INFINITE: Schema = {"enum": ["Infinity", "-Infinity"]}  # JSON has no number for them
_ENDS = ("low", "high")


def json_schema(file: Literal["statistics", "summary"]) -> Schema:
    """The schema that comes with the package.

    Args:
        file: ``statistics`` for ``statistics.json``, ``summary`` for ``summary.json``.
    """
    found: Schema = json.loads((_folder() / _name(file)).read_text(encoding="utf-8"))
    return found


def statistics_schema() -> Schema:
    """The schema of ``statistics.json``, made from the declared metrics."""
    return {
        "$schema": _DIALECT,
        "title": "statistics.json",
        "description": "What an audit's results say, with 95% intervals. Further fields may come "
        "under the same version; those that are required here stay.",
        **_object(
            {
                "version": {"const": 1},
                "confidence": {"const": 0.95},
                "unit": _TEXT,
                "groups": _list(_ref("group")),
                "worst_case": _list(_ref("worst_case")),
                "differences": _list(_ref("difference")),
                "missing_metrics": _map(_TEXT),
            }
        ),
        "$defs": {
            "missing": {
                "description": "In the place of a number that cannot be had: why.",
                **_object({"missing": _TEXT}),
            },
            "group": _group(),
            "mean": _estimate("mean", _NUMBER, {"capped": _COUNT, "left_out": _COUNT}),
            "rate": _estimate("rate", _SHARE, {"left_out": _COUNT}),
            "identified": _estimate(
                "rate", _SHARE, {"mechanism_bound": _SHARE}, required={"chance": _SHARE}
            ),
            "leakage": {
                "description": "(attack - null) / (bound - null), with the strongest null.",
                "anyOf": [
                    _estimate("value", _NUMBER, required={"null": _TEXT}),
                    _object({"missing": _TEXT}, {"null": _TEXT}),
                ],
            },
            "worst_case": _worst_case(),
            "maximum": _maximum(),
            "best_identification": _estimate(
                "rate",
                _SHARE,
                required={
                    "attack": _TEXT,
                    "by": {"enum": list(RANKS)},
                    "chance": _SHARE,
                    "p_value": _SHARE,
                    "tried": _COUNT,
                },
            ),
            "difference": _difference(),
        },
    }


def summary_schema() -> Schema:
    """The schema of ``summary.json``: rows in the columns of ``docs/columns.md``."""
    fields = {
        column.name: {"description": column.meaning, **_values(column.name, column.kind)}
        for column in columns()
    }
    fields["status"] = {**fields["status"], "enum": [status.value for status in Status]}
    return {
        "$schema": _DIALECT,
        "title": "summary.json",
        "description": "One object per case, attacks and controls alike. results.csv and "
        "results.parquet have the same columns; what is null here is an empty cell there, and "
        "lists and objects are JSON text.",
        **_list(
            {
                **_object({name: fields[name] for name in CASE_FIELDS}),
                "properties": fields,  # rows of earlier versions may lack others
            }
        ),
    }


def _group() -> Schema:
    means = _object({}, dict.fromkeys(METRICS, _NUMBER)) | {"additionalProperties": _NUMBER}
    tops = {f"top{k}": _missing_or("identified") for k in TOP}
    return {
        "description": "All cases of one defense and one attack.",
        **_object(
            {
                "defense": _TEXT,
                "attack": _TEXT,
                "cases": _COUNT,
                "failed": _COUNT,
                "images": _COUNT,
                "metrics": _of_metrics(list(METRICS), _missing_or("mean")),
                "nulls": _map(means),
                "bound": means,
                "leakage": _of_metrics([m.name for m in leakage_metrics()], _ref("leakage")),
                "identification": _object(
                    {by: {"anyOf": [_object({**tops, "decoys": _COUNT}), _MISSING]} for by in RANKS}
                ),
                "noise_multiplier": {"anyOf": [_object({"value": _NUMBER}), _MISSING]},
                "label_accuracy": _missing_or("rate"),
                "attribute_agreement": _missing_or("mean"),
                "utility": {
                    "anyOf": [
                        _estimate("accuracy", _SHARE, required={"majority_share": _NUMBER_OR_NULL}),
                        _MISSING,
                    ]
                },
                "evaluations": _NUMBER_OR_NULL,
                "seconds": _NUMBER_OR_NULL,
                "defense_parameters": _OBJECT_OR_NULL,
                "defense_guarantee": _OBJECT_OR_NULL,
            }
        ),
    }


def _worst_case() -> Schema:
    names = [metric.name for metric in headline_metrics()]
    whose = _object({"auditor": _missing_or("maximum"), "attacker": _missing_or("maximum")})
    return {
        "description": "What the strongest attack makes of a defense.",
        **_object(
            {
                "defense": _TEXT,
                "metric": _TEXT,
                "metrics": _of_metrics(names, whose),
                "identification": _missing_or("best_identification"),
                "verdict": {"enum": ["leak", "no_leak", "not_judged"]},
                "p_value": {"anyOf": [_SHARE, {"type": "null"}]},
                "reason": _TEXT,
                "shown": _list({"enum": ["reconstruction", "identification"]}),
            }
        ),
    }


def _maximum() -> Schema:
    ends = {f"{of}_{end}": _NUMBER for of in ("excess", "leakage") for end in _ENDS}
    return _estimate(
        "value",
        _NUMBER,
        {
            "bound": _NUMBER,
            "leakage": _NUMBER_OR_NULL,  # null if the bound does not beat the null
            "leakage_interval": {"type": "null"},  # there, and null, if it cannot be had
            **ends,
        },
        required={
            "attack": _TEXT,
            "null": _NUMBER,
            "null_role": _TEXT,
            "excess": _NUMBER,
            "p_value": _SHARE,
            "attacks": _list(_TEXT),
            "left_out": _map(_TEXT),
        },
    )


def _difference() -> Schema:
    between = {"attack": _TEXT, "metric": _TEXT, "defense_a": _TEXT, "defense_b": _TEXT}
    p_value = {"anyOf": [_SHARE, {"type": "null"}]}
    found = _estimate(
        "mean", _NUMBER, required={**between, "p_value": p_value, "p_adjusted": p_value}
    )
    return {
        "description": "a minus b, on the same images and seeds.",
        "anyOf": [found, _object({**between, "missing": _TEXT})],
    }


def _estimate(
    name: str, values: Schema, optional: Schema | None = None, required: Schema | None = None
) -> Schema:
    """A number with its interval, whose ends are null, with the reason, if it has none."""
    return _object(
        {
            name: values,
            **dict.fromkeys(_ENDS, _NUMBER_OR_NULL),
            "count": _COUNT,
            **(required or {}),
        },
        {"interval_missing": _TEXT, **(optional or {})},
    )


def _values(name: str, kind: str) -> Schema:
    if kind in ("number", "integer"):
        found = [{"type": [kind, "null"]}]
        if kind == "number":
            found.append(_INFINITE)
        if name in RANKS.values():
            found.append(_list({"type": "integer"}))  # of a client's batch: one per image
        return found[0] if len(found) == 1 else {"anyOf": found}
    types = {"text": "string", "boolean": "boolean", "list": "array", "object": "object"}
    return {"type": [types[kind], "null"]}


def _object(required: Schema, optional: Schema | None = None) -> Schema:
    found: Schema = {"type": "object", "properties": {**required, **(optional or {})}}
    return {**found, "required": list(required)} if required else found


def _of_metrics(names: list[str], values: Schema) -> Schema:
    """By metric; another version may know others."""
    return {**_object({}, dict.fromkeys(names, values)), "additionalProperties": values}


def _map(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


_MISSING = _ref("missing")


def _missing_or(name: str) -> Schema:
    return {"anyOf": [_ref(name), _MISSING]}


def _folder() -> Any:
    return resources.files("ggl_lightning.audit.results.schema")


def _name(file: str) -> str:
    return f"{file}.schema.json"


def _main() -> None:
    for file, made in (("statistics", statistics_schema()), ("summary", summary_schema())):
        path = Path(__file__).with_name(_name(file))
        path.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _main()
