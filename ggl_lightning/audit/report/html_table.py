"""Sortable tables of the page: cells with intervals, and footnotes for what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ggl_lightning.audit.report.estimates import MISSING, Estimate


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: What it says.
        detail: A smaller second line, such as the interval.
        sort: What it is sorted by; None goes last. Text cells are sorted by their text.
        note: Number of the footnote that says why something is missing.
        defense: The defense whose colour stands before the text.
        attack: The attack whose marker stands before the text.
        css_class: How it looks, if not like others.
    """

    text: str
    detail: str = ""
    sort: float | None = None
    note: int | None = None
    defense: str | None = None
    attack: str | None = None
    css_class: str = ""


@dataclass(frozen=True)
class Heading:
    """One column's heading."""

    title: str
    numeric: bool = True
    css_class: str = ""


@dataclass
class Table:
    """A table; the first column stays in view.

    Attributes:
        name: Unique in the page.
        caption: What it is.
        headings: The columns.
        rows: The cells of each row.
        notes: Reasons why values are missing, numbered from 1.
        left_out: Rows that are not shown, for the page's size.
    """

    name: str
    caption: str
    headings: Sequence[Heading]
    rows: list[list[Cell]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: int = 0

    def number(self, estimate: Estimate, digits: int, percent: bool = False) -> Cell:
        """A cell for a number: what is missing of it gets a footnote."""
        note = None if estimate.reason is None else self.note(estimate.reason)
        detail = estimate.format_interval(digits, percent) if estimate.value is not None else ""
        return Cell(estimate.format(digits, percent), detail, estimate.value, note)

    def note(self, reason: str) -> int:
        """The number of the footnote with this reason."""
        if reason not in self.notes:
            self.notes.append(reason)
        return self.notes.index(reason) + 1


def text_cell(value: object) -> Cell:
    """A cell of text; ``—`` for None."""
    return Cell(MISSING if value is None else str(value))
