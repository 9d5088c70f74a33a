"""The grid of pictures: private images beside what attacks and controls made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ggl_lightning.audit.plan.controls import bound, nulls, role_of
from ggl_lightning.audit.plan.roles import ATTACK, Role
from ggl_lightning.audit.report.estimates import format_number
from ggl_lightning.audit.report.thumbnails import NoPictureError, Thumbnail, make_thumbnail
from ggl_lightning.audit.results.collect import Results
from ggl_lightning.audit.results.schema import NO_PRIVATE_IMAGE, Row, is_done
from ggl_lightning.audit.results.values import makes_images, source_of, source_title

MOST_IMAGES = 24
"""Private images shown at most."""

MOST_PICTURES = 1500
"""Pictures shown at most: they are most of the page's size."""


_PRIVATE = "private"


@dataclass(frozen=True)
class Column:
    """One column of the grid; all of its cases share these.

    Attributes:
        role: A case's role, or ``private``.
        defense: The defense's name, or None.
        attack: The attack's name, or None.
    """

    role: str
    defense: str | None = None
    attack: str | None = None

    @property
    def title(self) -> str:
        """What the column's pictures are."""
        if self.role == _PRIVATE:
            return "private image"
        return "reconstruction" if self.role == ATTACK.name else role_of(self.role).title

    @property
    def label(self) -> str:
        """The same with defense and attack."""
        return ", ".join(part for part in (self.title, self.defense, self.attack) if part)


@dataclass(frozen=True)
class Tile:
    """One picture of the grid.

    Attributes:
        label: What it is.
        role: Its column's role.
        thumbnail: The picture; None if there is none.
        alt: The picture in words, or why there is none.
        caption: A number below it; may be empty.
    """

    label: str
    role: str
    thumbnail: Thumbnail | None
    alt: str
    caption: str


@dataclass(frozen=True)
class GridRow:
    """One private image (or one client's images) and seed."""

    title: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class ComparisonGrid:
    """The grid.

    Attributes:
        columns: Its columns.
        rows: Its rows.
        left_out: Private images that are not shown, for the page's size.
        without_images: Attacks that are not shown, since they make no images.
    """

    columns: tuple[Column, ...]
    rows: tuple[GridRow, ...]
    left_out: int
    without_images: tuple[str, ...] = ()


def make_grid(results: Results) -> ComparisonGrid:
    """Chooses columns and rows, and reads the pictures."""
    silent = _without_images(results)
    pictured = [row for row in results.rows if row["attack"] not in silent]
    images = dict.fromkeys((source_of(row), row["seed"]) for row in pictured)
    kinds = {(row["role"], row["defense"], row["attack"]) for row in pictured}
    columns = _columns({Column(*kind) for kind in kinds}, results)
    most = max(1, min(MOST_IMAGES, MOST_PICTURES // max(1, len(columns))))
    shown: dict[tuple[str | int, int], dict[Column, Row]] = {
        image: {} for image in islice(images, most)
    }
    for row in pictured:
        cases = shown.get((source_of(row), row["seed"]))
        if cases is not None:
            cases[Column(row["role"], row["defense"], row["attack"])] = row
    several_seeds = len({seed for _, seed in images}) > 1
    rows = []
    for (source, seed), cases in shown.items():
        title = source_title(next(iter(cases.values())))
        count = max(row.get("images") or 1 for row in cases.values())
        if count > 1:
            title = f"{count} images from {source}"
        if several_seeds:
            title += f", seed {seed}"
        tiles = tuple(_tile(column, title, cases, results.folders) for column in columns)
        rows.append(GridRow(title, tiles))
    return ComparisonGrid(tuple(columns), tuple(rows), len(images) - len(rows), silent)


def _without_images(results: Results) -> tuple[str, ...]:
    """Attacks that only rank, unless there are no others."""
    makes: dict[str, bool] = {}
    for row in results.rows:
        if row["role"] == ATTACK.name:
            attack = str(row["attack"])
            makes[attack] = makes.get(attack, False) or makes_images(row)
    silent = tuple(attack for attack, made in makes.items() if not made)
    return silent if len(silent) < len(makes) else ()


def _columns(present: set[Column], results: Results) -> list[Column]:
    """The private image and the cheapest null first, what the prior can do at best last."""
    attacks: list[str | None] = [*results.attacks] or [None]
    common = [role for role in nulls() if not role.has_defense]
    wanted = [_column(role, None, attack) for role in common for attack in attacks]
    wanted += [
        _column(role, defense, attack)
        for defense in results.defenses
        for attack in attacks
        for role in [*(null for null in nulls() if null.has_defense), ATTACK]
    ]
    wanted += [_column(bound(), None, attack) for attack in attacks]
    # Controls of another kind (a random null that names an attack, say) are shown all the same.
    rest = sorted(present - set(wanted), key=lambda column: column.label)
    return [Column(_PRIVATE), *(c for c in dict.fromkeys(wanted) if c in present), *rest]


def _column(role: Role, defense: str | None, attack: str | None) -> Column:
    return Column(role.name, *role.names(defense, attack))


def _tile(
    column: Column, title: str, cases: Mapping[Column, Row], folders: Mapping[str, Path]
) -> Tile:
    if column.role == _PRIVATE:
        return _private_tile(column, title, cases, folders)
    row = cases.get(column)
    if row is None:
        return Tile(column.label, column.role, None, "not run", "")
    if not is_done(row):
        return Tile(column.label, column.role, None, "failed", "")
    caption = _psnr(row.get("psnr"))
    try:
        thumbnail = make_thumbnail(folders[row["key"]] / "reconstruction.png")
    except NoPictureError as error:
        return Tile(column.label, column.role, None, str(error), caption)
    alt = f"{column.label}, of {title}" + (f": PSNR {caption}" if caption else "")
    return Tile(column.label, column.role, thumbnail, alt, caption)


def _psnr(value: float | None) -> str:
    if value is None:
        return ""
    return "exact" if value == math.inf else f"{format_number(value, 1)} dB"


def _private_tile(
    column: Column, title: str, cases: Mapping[Column, Row], folders: Mapping[str, Path]
) -> Tile:
    """The private image is beside every case: the first that has it will do."""
    reason = "no original.png"
    for row in cases.values():
        try:
            thumbnail = make_thumbnail(folders[row["key"]] / "original.png")
        except NoPictureError as error:
            reason = NO_PRIVATE_IMAGE if row["image_index"] is None else str(error)
        else:
            return Tile(column.label, column.role, thumbnail, f"private image: {title}", "")
    return Tile(column.label, column.role, None, reason, "")


def header_spans(columns: Sequence[Column]) -> list[tuple[str | None, str | None, int]]:
    """Neighbouring columns of one defense and attack: both names and how many there are."""
    spans: list[tuple[str | None, str | None, int]] = []
    for column in columns:
        if spans and spans[-1][:2] == (column.defense, column.attack):
            spans[-1] = (*spans[-1][:2], spans[-1][2] + 1)
        else:
            spans.append((column.defense, column.attack, 1))
    return spans
