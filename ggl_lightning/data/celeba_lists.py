"""CelebA's list files, as the authors write them and as CSV: image names and whole numbers."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class ListFile:
    """One parsed list file.

    Attributes:
        path: The file.
        header: The names of the columns of numbers; empty if the file has none.
        names: The ``N`` image names, in the file's order, each once.
        values: Their numbers: int64 ``(N, columns)``.
    """

    path: Path
    header: list[str]
    names: list[str]
    values: npt.NDArray[np.int64]


def read_list(path: Path, columns: int, has_header: bool) -> ListFile | str:
    """Reads a list file.

    Windows' line ends and a byte-order mark do no harm. A ``.csv`` file starts with a header; any
    other has names and numbers between blanks, and if it has a header, the number of rows above.

    Args:
        path: The file.
        columns: How many numbers follow every name.
        has_header: Whether a file that is not CSV has a header.

    Returns:
        What it holds; or what is wrong with it, as the rest of a sentence that begins with its
        name.
    """
    try:
        # A damaged byte must end as a bad row below, not as a decoding error without a place.
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    lines = text.rstrip().splitlines()
    if path.suffix.lower() == ".csv":
        return _read_csv(path, lines, columns)
    first_row = 2 if has_header else 0
    rows = lines[first_row:]
    if not rows:
        return "lists no image"
    if has_header and lines[0].strip() != str(len(rows)):
        return f"announces {lines[0].strip()[:40]!r} rows in its first line, but holds {len(rows)}"
    header = lines[1].split() if has_header else []
    pairs = [row.split(maxsplit=1) for row in rows]
    values = _numbers(pairs)
    if values is not None and values.shape[1] == columns:
        return _list(path, header, [name for name, _ in pairs], values)
    # A name may have blanks in it; splitting every row from the right takes three times as long.
    cells = [row.rsplit(maxsplit=columns) for row in rows]
    return _list_of_cells(path, header, cells, first_row, columns)


def _read_csv(path: Path, lines: list[str], columns: int) -> ListFile | str:
    if not lines:
        return "is empty"
    quick = None if any('"' in line for line in lines) else _read_plain_csv(path, lines, columns)
    if quick is not None:
        return quick
    # Quotes, or something wrong; taking every cell apart takes five times as long.
    try:
        rows = list(csv.reader(lines))
    except csv.Error as error:
        return f"is no CSV file: {error}"
    header = [name.strip() for name in rows[0]]
    if len(header) == columns + 1 and header[1].lstrip("+-").isdecimal():
        return "has no header: its first line must name the columns, as image_id,..."
    if len(rows) == 1:
        return "lists no image"
    cells = [[cell.strip() for cell in row] for row in rows[1:]]
    return _list_of_cells(path, header[1:], cells, 1, columns)


def _read_plain_csv(path: Path, lines: list[str], columns: int) -> ListFile | str | None:
    """Reads a CSV file without quotes in which nothing is wrong; None if something is."""
    header, *rows = [line.split(",", maxsplit=1) for line in lines]
    values = _numbers(rows, delimiter=",")
    if values is None or values.shape[1] != columns or len(header) < 2:
        return None
    titles = [title.strip() for title in header[1].split(",")]
    if titles[0].lstrip("+-").isdecimal():
        return None
    return _list(path, titles, [name.strip() for name, _ in rows], values)


def _list_of_cells(
    path: Path, header: list[str], rows: list[list[str]], first_row: int, columns: int
) -> ListFile | str:
    values = None
    if all(len(row) == columns + 1 for row in rows):
        values = _numbers([[row[0], " ".join(row[1:])] for row in rows])
    if values is None:
        return _describe_bad_row(rows, first_row, columns)
    return _list(path, header, [row[0] for row in rows], values)


def _numbers(pairs: list[list[str]], delimiter: str | None = None) -> npt.NDArray[np.int64] | None:
    """What follows the names; None if some row has no numbers, or not as many as another."""
    if not pairs or not all(len(pair) == 2 for pair in pairs):
        return None
    try:
        numbers = [pair[1] for pair in pairs]
        return np.loadtxt(numbers, np.int64, comments=None, delimiter=delimiter, ndmin=2)
    except ValueError:
        return None


def _list(
    path: Path, header: list[str], names: list[str], values: npt.NDArray[np.int64]
) -> ListFile | str:
    if len(set(names)) < len(names):
        twice = [name for name, count in Counter(names).items() if count > 1]
        return f"lists {len(twice)} images more than once, the first is {twice[0]}"
    return ListFile(path, header, names, values)


def _describe_bad_row(rows: list[list[str]], first_row: int, columns: int) -> str:
    for number, row in enumerate(rows, start=first_row + 1):
        if len(row) != columns + 1 or not all(c.lstrip("+-").isdecimal() for c in row[1:]):
            shown = " ".join(row)
            shown = shown if len(shown) <= 60 else shown[:60] + "..."
            return (
                f"line {number} is {shown!r}: expected a file name and "
                f"{columns} whole number{'s' if columns > 1 else ''}"
            )
    return "holds numbers that do not fit 64 bits"
