"""The rows of all cases as ``results.csv`` and ``results.parquet``: same columns, same values."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ggl_lightning.audit.results.schema import Row, column_of, columns

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_NEED_QUOTES = re.compile('[",\r\n]')
_INT64 = 2**63
_ROWS_AT_A_TIME = 1000


def results_table(rows: Sequence[Row]) -> pa.Table:
    """The rows as a table with one type per column.

    Booleans, integers and floats stay what they are; integers beyond 64 bits, lists and objects
    become text (JSON). What is missing is null.
    """
    present = {name for row in rows for name in row}
    known = [one.name for one in columns() if not one.is_optional or one.name in present]
    names = [*known, *sorted(present - set(known))]
    return pa.table({name: _column(name, [row.get(name) for row in rows]) for name in names})


def csv_lines(table: pa.Table) -> Iterator[bytes]:
    """The table as UTF-8 CSV, line by line: numbers exactly, nulls as empty cells.

    A spreadsheet takes text that begins with ``= + - @``, a tab or a carriage return for a
    formula, and may run it: such text gets an apostrophe in front. Numbers do not.
    """
    yield _csv_line(table.column_names)
    for part in table.to_batches(max_chunksize=_ROWS_AT_A_TIME):
        for row in zip(*(column.to_pylist() for column in part.columns), strict=True):
            yield _csv_line(row)


def parquet_bytes(table: pa.Table) -> bytes:
    """The table as a Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def harmless(text: str) -> str:
    """Text as a spreadsheet's cell that is not taken for a formula."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _csv_line(cells: Iterable[Any]) -> bytes:
    return (",".join(map(_csv_cell, cells)) + "\n").encode()


def _csv_cell(value: Any) -> str:
    """One cell; the standard library's writer would leave a lone carriage return unquoted."""
    if not isinstance(value, str):
        return "" if value is None else str(value)
    text = harmless(value)
    return '"' + text.replace('"', '""') + '"' if _NEED_QUOTES.search(text) else text


def _column(name: str, values: list[Any]) -> pa.Array:
    present = [value for value in values if value is not None]
    known = column_of(name)
    is_text = known is not None and known.is_text
    if is_text or not all(isinstance(value, bool | int | float) for value in present):
        return pa.array([_as_text(value) for value in values], pa.string())
    kinds = {type(value) for value in present}
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds == {int}:
        if _fits(present):
            return pa.array(values, pa.int64())
        return pa.array([_as_text(value) for value in values], pa.string())
    if bool in kinds:
        return pa.array([_as_text(value) for value in values], pa.string())
    return pa.array([None if value is None else float(value) for value in values], pa.float64())


def _fits(values: Iterable[int]) -> bool:
    return all(-_INT64 <= value < _INT64 for value in values)


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
