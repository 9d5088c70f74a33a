"""What an audit of one update found, as text and as a page in a notebook."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ggl_lightning.atomic_file import replacing, write_chunks
from ggl_lightning.attacks import Finding
from ggl_lightning.audit.results.numbers import dumps
from ggl_lightning.errors import UserError
from ggl_lightning.image_range import to_unit_range

_ABSENT = "\N{EM DASH}"
_COLUMNS = ("psnr", "ssim", "mse", "rank", "rank_update", "labels", "margin", "loss", "seconds")
_TITLES = {
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "mse": "MSE",
    "rank": "rank",
    "rank_update": "rank by the update",
    "labels": "labels",
    "margin": "margin",
    "loss": "objective",
    "seconds": "seconds",
}
_FORMS = {"psnr": ".2f", "ssim": ".3f", "mse": ".4f", "margin": ".2f", "loss": ".4g"}
_SHOWN_PIXELS = 96


@dataclass(frozen=True)
class AttackResult:
    """What one attack found.

    Attributes:
        name: What the attack is called.
        finding: What it found; the images are in the private images' order if these were given.
        scores: Every metric that could be computed, by name; ``rank`` is the place of the first
            private image among the lineup and itself, by squared distance from its reconstruction,
            ``rank_update`` that by the update itself.
        missing: Why the others could not, by name.
    """

    name: str
    finding: Finding
    scores: Mapping[str, float]
    missing: Mapping[str, str]

    def value(self, column: str) -> Any:
        """A column of the table; None if it is missing."""
        found = self.finding
        if column == "labels":
            return " ".join(str(int(label)) for label in found.labels)
        if column == "margin":
            return None if found.inferred is None else found.inferred.margin
        if column in ("loss", "seconds"):
            return getattr(found, column)
        return self.scores.get(column)


@dataclass(frozen=True)
class AuditedUpdate:
    """What the attacks found of one update.

    Its ``repr`` is a table, and a notebook shows the pictures below it.

    Attributes:
        results: By the attacks' names, in the order in which they were run.
        chance: The mean scores of random samples of the prior, or of public images without one:
            what is found without the update. Empty if no private image was given, or there are
            neither.
        left_out: Attacks that were not run, with the reason.
        images: The private images ``(N, 3, H, W)`` in ``[-1, 1]``, if they were given.
        description: What was audited, in words: kind, count, procedure, defense, prior.
    """

    results: Mapping[str, AttackResult]
    chance: Mapping[str, float] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    images: Tensor | None = None
    description: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> AttackResult:
        return self.results[name]

    def __repr__(self) -> str:
        rows = [["attack", *(_TITLES[name] for name in _COLUMNS)], *self._rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(
                cell.rjust(width) if i else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        head = ", ".join(f"{name} {value}" for name, value in self.description.items())
        return "\n".join([head, *lines, *self._notes()])

    def _repr_html_(self) -> str:
        """The table with the pictures, for notebooks."""
        head = "".join(
            f"<th>{escape(title)}</th>"
            for title in ("attack", "images", *(_TITLES[name] for name in _COLUMNS))
        )
        body = []
        if self.images is not None:
            span = f'<td colspan="{len(_COLUMNS)}"></td>'
            body.append(f"<tr><th>private</th><td>{_picture(self.images)}</td>{span}</tr>")
        pictures = [
            "" if result.finding.images is None else _picture(result.finding.images)
            for result in self.results.values()
        ]
        for row, picture in zip(self._rows(), [*pictures, ""], strict=False):
            cells = "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
            body.append(f"<tr><th>{escape(row[0])}</th><td>{picture}</td>{cells}</tr>")
        words = ", ".join(f"{escape(k)} {escape(v)}" for k, v in self.description.items())
        notes = "".join(f"<li>{escape(note)}</li>" for note in self._notes())
        return (
            f"<p>{words}</p><table><thead><tr>{head}</tr></thead>"
            f"<tbody>{''.join(body)}</tbody></table><ul>{notes}</ul>"
        )

    def save(self, folder: str | Path) -> None:
        """Writes ``result.json``, ``result.html`` and the reconstructions.

        Args:
            folder: A folder that does not exist, or is empty.

        Raises:
            UserError: If it holds something, or cannot be written.
        """
        folder = Path(folder)
        check_new_folder(folder)
        content = {
            "description": dict(self.description),
            "chance": dict(self.chance),
            "left_out": dict(self.left_out),
            "attacks": {
                name: {
                    **{column: result.value(column) for column in _COLUMNS},
                    "scores": dict(result.scores),
                    "missing": dict(result.missing),
                    "evaluation": dict(result.finding.evaluation),
                }
                for name, result in self.results.items()
            },
        }
        head = '<!doctype html><meta charset="utf-8"><title>Audited update</title>'
        page = head + self._repr_html_()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, result in self.results.items():
                if result.finding.images is None:
                    continue
                with replacing(folder / f"{name.replace('/', '-')}.png") as file:
                    _strip(result.finding.images).save(file, format="PNG")
            write_chunks(folder / "result.html", [page.encode()])
            write_chunks(folder / "result.json", [dumps(content, indent=2).encode()])
        except OSError as error:
            raise UserError(f"{str(folder)!r} cannot be written: {error.strerror}.") from error

    def _rows(self) -> list[list[str]]:
        rows = [
            [name, *(_cell(column, result.value(column)) for column in _COLUMNS)]
            for name, result in self.results.items()
        ]
        if self.chance:
            cells = [_cell(column, self.chance.get(column)) for column in _COLUMNS]
            rows.append(["(chance)", *cells])
        return rows

    def _notes(self) -> list[str]:
        """What is missing, each reason once."""
        by_reason: dict[str, list[str]] = {}
        for result in self.results.values():
            for name, reason in result.missing.items():
                names = by_reason.setdefault(reason, [])
                if name not in names:
                    names.append(name)
        notes = [f"missing: {', '.join(names)}: {reason}" for reason, names in by_reason.items()]
        return notes + [f"not run: {name}: {reason}" for name, reason in self.left_out.items()]


def _cell(column: str, value: Any) -> str:
    if value is None:
        return _ABSENT
    return str(value) if isinstance(value, str) else format(value, _FORMS.get(column, ".4g"))


def check_new_folder(folder: Path) -> None:
    """Raises unless a result can be written into a folder without touching anything.

    Args:
        folder: The folder, which need not exist.

    Raises:
        UserError: If it holds something, or is none.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{str(folder)!r} is not an empty folder: give another one.")


def _strip(images: Tensor) -> Image.Image:
    """Images ``(N, 3, H, W)`` side by side."""
    pixels = to_unit_range(torch.cat(list(images.detach().cpu()), dim=2))
    return Image.fromarray((pixels * 255).round().byte().permute(1, 2, 0).numpy())


def _picture(images: Tensor) -> str:
    """An ``img`` element, enlarged without smoothing."""
    strip = _strip(images)
    height = max(_SHOWN_PIXELS, strip.height)
    buffer = io.BytesIO()
    strip.save(buffer, format="PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<img alt="" src="data:image/png;base64,{data}" '
        f'style="height:{height}px;image-rendering:pixelated">'
    )
