"""The recordings that a configuration names, with what is known of each."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ggl_lightning.audit.plan.sources.image_files import read_images
from ggl_lightning.audit.plan.sources.recorded import RecordedUpdate
from ggl_lightning.clients.procedures import ClientProcedure
from ggl_lightning.errors import UserError
from ggl_lightning.problems import Problems
from ggl_lightning.updates import read_recording
from ggl_lightning.user_paths import user_path

_LONGEST = 60
_LINEUP = "data.lineup"


@dataclass(frozen=True)
class RecordEntry:
    """A recorded update, with what its auditor knows of it.

    Attributes:
        file: The recording, or a pattern such as ``recordings/round-1-*.safetensors``.
        images: The private images, in the order of the labels: files, or a folder whose images are
            taken in the order of their names.
        labels: Their labels.
        count: Private images behind the update, if nothing else says so.
    """

    file: str
    images: str | list[str] | None = None
    labels: list[int] | None = None
    count: int | None = None


class Records:
    """The recordings of an audit.

    Args:
        entries: Files, patterns, or entries.
        lineup: A folder of images, or files, among which the private images are to be identified.

    Raises:
        UserError: With everything that is wrong: files that are not there, patterns that no file
            fits, a file that is named twice, images of a pattern that several files fit, or names
            that cannot be told apart.
    """

    def __init__(
        self, entries: Sequence[str | RecordEntry], lineup: str | list[str] | None = None
    ) -> None:
        problems = Problems()
        found: list[tuple[Path, RecordEntry]] = []
        for entry in entries:
            said = RecordEntry(entry) if isinstance(entry, str) else entry
            for file in problems.of(partial(_files, said)) or []:
                found.append((file, said))
        if not problems:
            names = problems.of(lambda: _names([file for file, _ in found]))
            self._entries = dict(zip(names or [], found, strict=True)) if names else {}
        if lineup is not None and all(entry.images is None for _, entry in found):
            problems.add(
                f"{_LINEUP} ranks private images of records, but no record has images: give them, "
                "or leave the lineup out."
            )
        problems.raise_if_any()
        self._lineup = lineup

    @property
    def names(self) -> list[str]:
        """Names of the records, in their order."""
        return list(self._entries)

    def has_images(self, name: str) -> bool:
        """Whether the private images behind a record are given."""
        return self._entries[name][1].images is not None

    def open(
        self,
        model: nn.Module,
        image_size: int,
        procedure: ClientProcedure | None = None,
        structure: str | None = None,
    ) -> dict[str, RecordedUpdate]:
        """Reads and checks all recordings.

        Args:
            model: The client model, in eval mode.
            image_size: Height and width of the images, in pixels.
            procedure: What the attacker believes that clients do; see `RecordedUpdate`.
            structure: See `RecordedUpdate`.

        Returns:
            The updates by name.

        Raises:
            UserError: With everything that is wrong of them.
        """
        problems = Problems()
        lineup = None
        if self._lineup is not None:
            lineup = problems.of(partial(read_images, _LINEUP, self._lineup, image_size))
        opened = {}
        for name, (file, entry) in self._entries.items():
            try:
                images = _images(name, entry, image_size)
                opened[name] = RecordedUpdate(
                    name,
                    partial(read_recording, file),
                    model,
                    images=images,
                    labels=None if entry.labels is None else torch.tensor(entry.labels),
                    procedure=procedure,
                    count=entry.count,
                    lineup=lineup,
                    structure=structure,
                )
            except UserError as error:
                problems.extend(_of_file(file, problem) for problem in error.problems)
        problems.raise_if_any()
        return opened


def _images(name: str, entry: RecordEntry, image_size: int) -> Tensor | None:
    if entry.images is None:
        return None
    return read_images(f"images of the record {name}", entry.images, image_size)


def _of_file(file: Path, problem: str) -> str:
    """The problem, with the file that it is of."""
    return problem if problem.startswith(repr(str(file))) else f"{str(file)!r}: {problem}"


def _files(entry: RecordEntry) -> list[Path]:
    path = user_path("data.records", entry.file)
    if path.exists() or not glob.has_magic(entry.file):
        if not path.is_file():
            raise UserError(f"data.records names {entry.file!r}: there is no such file.")
        return [path]
    files = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    if not files:
        raise UserError(f"data.records has the pattern {entry.file!r}, which fits no file.")
    if len(files) > 1 and entry != replace(entry, images=None, labels=None, count=None):
        raise UserError(
            f"data.records has the pattern {entry.file!r} with images, labels or count, but it "
            f"fits {len(files)} files: these belong to one, so name each file by itself."
        )
    return files


def _names(files: Sequence[Path]) -> list[str]:
    """The files' names without their ends; with as many folders before them as tell them apart."""
    if not files:
        raise UserError("data.records is empty: name at least one recording.")
    resolved = [file.resolve() for file in files]
    twice = sorted({str(f) for f, r in zip(files, resolved, strict=True) if resolved.count(r) > 1})
    if twice:
        raise UserError(f"data.records names {twice[0]!r} more than once: name each file once.")
    parts = [(*file.parent.parts[1:], file.name.removesuffix(".safetensors")) for file in resolved]
    names: list[str] = []
    for length in range(1, max(map(len, parts)) + 1):
        names = [_safe("-".join(part[-length:])) for part in parts]
        if len({name.lower() for name in names}) == len(names):
            return names
    alike = next(name for name in names if [n.lower() for n in names].count(name.lower()) > 1)
    raise UserError(
        f"Two of data.records would both be called {alike!r}, which is made of letters, digits and "
        "'_.+-' alone: rename one file."
    )


def _safe(text: str) -> str:
    """As part of a folder's name, other characters as ``_``; of a long one the end stays."""
    safe = re.sub(r"[^A-Za-z0-9_.+-]", "_", text)[-_LONGEST:]
    return safe.lstrip("_.+-") or "record"
