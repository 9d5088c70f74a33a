"""Two runs beside each other: read, checked and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from PIL import ImageChops
from PIL.Image import Image as Picture

from ggl_lightning.audit.plan.roles import ATTACK
from ggl_lightning.audit.results.collect import Results, collect, run_labels
from ggl_lightning.audit.results.pictures import read_picture
from ggl_lightning.audit.results.row import is_member
from ggl_lightning.audit.results.schema import Row
from ggl_lightning.audit.results.values import Image, image_of, source_title
from ggl_lightning.audit.statistics.run_differences import run_differences
from ggl_lightning.errors import UserError

Pair: TypeAlias = tuple[str, str]


@dataclass(frozen=True)
class RunComparison:
    """Two runs, case by case.

    Attributes:
        labels: What the two are called.
        differences: What `run_differences` says of them, the first minus the second.
        only: For each run, the defenses and attacks that the other lacks.
        changed: What else is not the same in both, in words.
        unchecked: How many images' pictures are not in both, so that nothing tells whether they
            are the same.
    """

    labels: tuple[str, str]
    differences: list[dict[str, Any]]
    only: tuple[list[Pair], list[Pair]]
    changed: list[str]
    unchecked: int

    def as_json(self) -> dict[str, Any]:
        """Everything, ready for strict JSON."""
        return {
            "version": 1,
            "a": self.labels[0],
            "b": self.labels[1],
            "differences": self.differences,
            "only_in_a": [list(pair) for pair in self.only[0]],
            "only_in_b": [list(pair) for pair in self.only[1]],
            "changed": self.changed,
            "unchecked": self.unchecked,
        }


def compare_runs(a: Path, b: Path) -> RunComparison:
    """Compares two run folders on their private images.

    Args:
        a: The first run folder.
        b: The second.

    Raises:
        UserError: If results cannot be read, the runs have no defense and attack or no private
            image in common, or an image of the same index is not the same image.
    """
    first, second = run_labels([a, b])
    results = collect([a]), collect([b])
    groups = [_groups(each.rows) for each in results]
    both = [pair for pair in groups[0] if pair in groups[1]]
    if not both:
        raise UserError(
            f"{a} and {b} have no defense and attack in common, which are paired by name: the "
            f"first has {_named(groups[0])}, the second {_named(groups[1])}. Give them the same "
            "names."
        )
    unchecked = _check_same_images(*results, a, b)
    only = [[pair for pair in mine if pair not in other] for mine, other in _both_ways(groups)]
    return RunComparison(
        (first, second),
        run_differences(results[0].rows, results[1].rows),
        (only[0], only[1]),
        _changed(groups[0], groups[1], both),
        unchecked,
    )


def _groups(rows: Sequence[Row]) -> dict[Pair, Row]:
    """The first case of every defense and attack."""
    found: dict[Pair, Row] = {}
    for row in rows:
        if row["role"] == ATTACK.name:
            found.setdefault((row["defense"], row["attack"]), row)
    return found


def _both_ways(groups: Sequence[Any]) -> list[tuple[Any, Any]]:
    return [(groups[0], groups[1]), (groups[1], groups[0])]


def _named(groups: Mapping[Pair, Row]) -> str:
    return ", ".join(f"{attack} on {defense}" for defense, attack in groups) or "none"


def _check_same_images(first: Results, second: Results, a: Path, b: Path) -> int:
    """Raises if the runs share no image, or what they share by index is not the same.

    Returns:
        Of how many that cannot be told.
    """
    images = [_folders(results) for results in (first, second)]
    shared = sorted(images[0].keys() & images[1].keys())
    if not shared:
        raise UserError(
            f"{a} and {b} have no private image in common: audit the same images (data.idx) in "
            "both."
        )
    unchecked = 0
    for image in shared:
        (row, folder), (_, other) = images[0][image], images[1][image]
        ours, theirs = (_picture(each / "original.png") for each in (folder, other))
        if ours is None or theirs is None:
            unchecked += 1
        elif ours.size != theirs.size or ImageChops.difference(ours, theirs).getbbox():
            raise UserError(
                f"{source_title(row)} is another image in {a} than in {b}: differences on the same "
                "images are only had of audits of the same data and split."
            )
    return unchecked


def _picture(path: Path) -> Picture | None:
    return read_picture(path) if path.exists() else None


def _folders(results: Results) -> dict[Image, tuple[Row, Path]]:
    """A case of every private image, with its folder."""
    found: dict[Image, tuple[Row, Path]] = {}
    for row in results.rows:
        if row["role"] == ATTACK.name and not is_member(row):
            found.setdefault(image_of(row), (row, results.folders[row["key"]]))
    return found


def _changed(
    first: Mapping[Pair, Row], second: Mapping[Pair, Row], both: Sequence[Pair]
) -> list[str]:
    """What the names do not tell: other networks, and other settings under one name."""
    found: dict[str, None] = {}
    for pair in both:
        one, other = first[pair], second[pair]
        ours, theirs = (each.get("details") or {} for each in (one, other))
        settings = [details.get("setting") or {} for details in (ours, theirs)]
        for what, title in (("client", "client model"), ("prior", "prior")):
            if settings[0].get(what) != settings[1].get(what):
                found[f"another {title}"] = None
        if one.get("defense_parameters") != other.get("defense_parameters"):
            found[f"other settings of the defense {pair[0]}"] = None
        if ours.get("attack") != theirs.get("attack"):
            found[f"other settings of the attack {pair[1]}"] = None
    return list(found)
