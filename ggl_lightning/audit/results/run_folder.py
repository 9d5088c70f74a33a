"""An audit's folder on disk: one sub-folder per case, and the tables over all of them.

```
RUN/
  config.yaml              the resolved configuration
  .claim                   locked while an audit runs into the folder
  environment.json         where and with which versions it was run
  cases/NAME/              one per case
    original.png  reconstruction.png  latent.npy  losses.csv
    snapshot.safetensors   while the case is under attack
    result.json            written last: its presence means the case is complete
    failure.json           in its place if the case could not be completed
    members/NAME/          pictures of what the attacks found that an attack is made of
  utility/NAME/            one per federated training, likewise
  fits/                    what attacks have learnt first, with what it depends on
  summary.png              pictures of the first cases
  report.html ...          and its tables, see `report.build_report`
```
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ggl_lightning.atomic_file import remove_unfinished, replacing, write_chunks
from ggl_lightning.attacks.searches.snapshots import losses_csv
from ggl_lightning.audit.plan.case import check_name
from ggl_lightning.audit.plan.keys import KEY_VERSION, key_version
from ggl_lightning.audit.plan.roles import ATTACK
from ggl_lightning.audit.results.claim import claim, release
from ggl_lightning.audit.results.grid_keys import GridKeys
from ggl_lightning.audit.results.links import refuse_links
from ggl_lightning.audit.results.numbers import dumps, with_infinities, without_nan
from ggl_lightning.audit.results.pictures import comparison_sheet, save_images
from ggl_lightning.audit.results.row import Outcome
from ggl_lightning.audit.results.schema import Row, Status, is_done
from ggl_lightning.errors import UserError

MEMBERS = "members"
_SHEET = "summary.png"

_log = logging.getLogger(__name__)


class RunFolder:
    """Reads and writes the results of one audit.

    Args:
        path: The audit's folder; created by `make` or `open`.

    Attributes:
        others: Results that the last `check` found of cases which are not in its grid.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.others = 0

    @classmethod
    def of(cls, out_dir: str | Path, exp_name: str) -> RunFolder:
        """The folder of an experiment within the folder of all runs.

        Raises:
            UserError: If ``exp_name`` is not safe as a folder's name, or ``out_dir`` is no path.
        """
        check_name("experiment (exp_name)", exp_name)
        if "\0" in str(out_dir):
            raise UserError(f"out_dir is {str(out_dir)!r}: a path cannot hold the character NUL.")
        return cls(Path(out_dir) / exp_name)

    def check_writable(self) -> Path:
        """Finds out whether the folder can be created and written to; leaves nothing behind.

        Returns:
            A folder on the same disk that is there: this one, or the nearest above it.

        Raises:
            UserError: If it cannot, or holds links out of it.
        """
        refuse_links(self.path)
        with self._writing():
            there = [folder for folder in (self._cases, self.path) if os.path.lexists(folder)]
            if not there:
                there = [next(up for up in self.path.absolute().parents if os.path.lexists(up))]
            for folder in there:
                with tempfile.TemporaryFile(dir=folder):
                    pass
        return there[-1]

    def make(self) -> None:
        """Creates the folder unless it is there.

        Raises:
            UserError: If it cannot be created or written to, or holds links out of it.
        """
        self.check_writable()
        with self._writing():
            self._cases.mkdir(parents=True, exist_ok=True)

    @property
    def fits(self) -> Path:
        """Where attacks keep what they have learnt."""
        return self.path / "fits"

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"The output folder {self.path} is not writable ({error.strerror}): give another "
                "one with --out_dir."
            ) from error

    def open(self, grid: GridKeys) -> frozenset[str]:
        """Creates the folder and claims it, and makes sure that it belongs to this audit.

        Args:
            grid: What this audit is.

        Returns:
            Names of the cases that have a result.

        Raises:
            UserError: If the folder cannot be written to, another configuration is being run into
                it, or it holds results of another one.
        """
        self.make()
        claim(self.path, [grid.cases, grid.trainings])
        try:
            return self.check(grid)
        except UserError:
            release(self.path)
            raise

    def check(self, grid: GridKeys) -> frozenset[str]:
        """Makes sure that what the folder holds, if there is one, belongs to this audit.

        Results of cases that are not in this grid, but were run alike, may stay: `others` counts
        them.

        Args:
            grid: What this audit is.

        Returns:
            Names of the cases of this audit that have a result which can be read.

        Raises:
            UserError: If it holds a result of another configuration or version, or links.
        """
        refuse_links(self.path)
        known, self.others = self.others, 0
        self._check("federated training", self._trainings, grid.trainings, grid)
        finished = self._check("case", self._cases, grid.cases, grid)
        if self.others and self.others != known:  # it is checked before and after it is claimed
            _log.warning(
                "%s holds %d results that are not in this grid: they stay, and the report of the "
                "folder shows them too.",
                self.path,
                self.others,
            )
        return finished

    def _check(
        self, what: str, folder: Path, keys: dict[str, str], grid: GridKeys
    ) -> frozenset[str]:
        finished = set()
        names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
        for name in names:
            result = _read_result(folder / name / "result.json")
            if result is None:
                continue
            version = key_version(result.get("key"))
            if version != KEY_VERSION:
                raise UserError(
                    f"{self.path} holds results that were made by "
                    f"{'an earlier' if version < KEY_VERSION else 'a later'} version of "
                    "ggl_lightning: whether they are those of this configuration cannot be told. "
                    "Give this audit another --exp_name or --out_dir."
                )
            if name in keys:
                belongs = keys[name] == result.get("key")
                finished.add(name)
            else:
                belongs = grid.could_hold(result)
                self.others += 1
            if not belongs:
                raise UserError(
                    f"{self.path} already holds other results: its {what} {name} was run with "
                    "another configuration. Give this audit another --exp_name or --out_dir, or "
                    "remove that folder yourself."
                )
        return frozenset(finished)

    def write_environment(self, found: dict[str, Any]) -> None:
        """Writes ``environment.json``, with the start times of all runs into this folder."""
        file = self.path / "environment.json"
        earlier = (_read_result(file) or {}).get("starts", [])
        _write_json(file, {**found, "starts": [*earlier, found["started"]]})

    def write_config(self, text: str) -> None:
        """Writes ``config.yaml``."""
        write_chunks(self.path / "config.yaml", [text.encode()])

    def case_folder(self, name: str) -> Path:
        """Where everything of one case is kept."""
        return self._cases / name

    def load(self, name: str) -> Row | None:
        """The result of a finished case, or None if it has none that can be read."""
        return _read_own(self._cases / name, "result.json")

    def write_case(self, originals: Tensor | None, outcome: Outcome) -> None:
        """Writes one finished case, ``result.json`` last.

        Args:
            originals: Private images ``(N, 3, H, W)`` in ``[-1, 1]``; None if none were given.
            outcome: What the case leaves behind.
        """
        folder = self._cases / outcome.result["name"]
        for name, member in outcome.members.items():
            _write_files(folder / MEMBERS / name, originals, member)
        _write_files(folder, originals, outcome)
        members = [member.result for member in outcome.members.values()]
        _write_result(folder, {**outcome.result, **({"members": members} if members else {})})

    def write_failure(self, result: Row) -> None:
        """Writes the row of a case that could not be completed; the next run tries it again."""
        _write_failure(self._cases / result["name"], result)

    def picture(self, name: str, what: str) -> Path:
        """The file of a case's picture: ``what`` is ``original`` or ``reconstruction``."""
        return self._cases / name / f"{what}.png"

    def load_training(self, name: str) -> Row | None:
        """The result of a finished federated training, or None."""
        return _read_own(self._trainings / name, "result.json")

    def write_training(self, result: Row) -> None:
        """Writes the row of a federated training, whether it was completed or not."""
        write = _write_failure if result["status"] == Status.failed else _write_result
        write(self._trainings / result["name"], result)

    def count_results(self) -> int:
        """How many cases have a result."""
        return sum(1 for _ in self._cases.glob("*/result.json"))

    def has_rows(self) -> bool:
        """Whether any case or federated training has left its row, completed or not."""
        files = ("result.json", "failure.json")
        return any(True for file in files for _ in self.path.glob(f"*/*/{file}"))

    def write_picture(self, rows: Iterable[Row]) -> None:
        """Writes ``summary.png``: private images beside what the attacks made of them.

        Args:
            rows: The rows of all cases; those of controls are left to the report.
        """
        shown = [row for row in rows if is_done(row) and row["role"] == ATTACK.name]
        if shown:
            comparison_sheet(
                [(row, self._cases / row["name"]) for row in shown], self.path / _SHEET
            )

    def tidy(self) -> None:
        """Removes what a killed process has left half-written."""
        remove_unfinished(self.path)

    @property
    def _cases(self) -> Path:
        return self.path / "cases"

    @property
    def _trainings(self) -> Path:
        return self.path / "utility"


def _write_files(folder: Path, originals: Tensor | None, outcome: Outcome) -> None:
    """What stands beside a result."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_unfinished(folder)
    if originals is not None:
        save_images(originals, folder / "original.png")
    if outcome.reconstructions is not None:
        save_images(outcome.reconstructions, folder / "reconstruction.png")
    for name, values in outcome.artefacts.items():
        with replacing(folder / f"{name}.npy") as unfinished, unfinished.open("wb") as file:
            np.save(file, values.numpy(), allow_pickle=False)
    write_chunks(folder / "losses.csv", [losses_csv(outcome.histories).encode()])


def _write_result(folder: Path, result: Row) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "result.json", without_nan(result))
    (folder / "failure.json").unlink(missing_ok=True)


def _write_failure(folder: Path, result: Row) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "failure.json", without_nan(result))


def _write_json(file: Path, content: dict[str, Any]) -> None:
    write_chunks(file, [dumps(content, indent=2).encode(), b"\n"])


def _read_own(folder: Path, file: str) -> Row | None:
    """A result that says of itself what its folder says: its name stands for files elsewhere."""
    found = _read_result(folder / file)
    return found if found is not None and found.get("name") == folder.name else None


def _read_result(file: Path) -> Row | None:
    try:
        text = file.read_text(encoding="utf-8")
        found = json.loads(text, object_pairs_hook=lambda pairs: dict(with_infinities(pairs)))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:  # damaged from outside, since results are written in one step: run it again
        return None
    return found if isinstance(found, dict) else None
