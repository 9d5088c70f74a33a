"""An audit's folder on disk: one sub-folder per case, and the tables over all of them.

```
RUN/
  config.yaml              the resolved configuration
  cases/NAME/              one per case
    original.png  reconstruction.png  latent.npy  losses.csv
    snapshot.safetensors   while the case is under attack
    result.json            written last: its presence means the case is complete
  results.csv  summary.json  summary.png
```
"""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ggl_lightning.atomic_file import remove_unfinished, replacing
from ggl_lightning.audit.case import check_name
from ggl_lightning.audit.pictures import comparison_sheet, save_images
from ggl_lightning.errors import UserError

CaseResult = dict[str, Any]
"""What is known of a finished case; flat but for the parameters of defense and attack."""


class RunFolder:
    """Reads and writes the results of one audit.

    Args:
        path: The audit's folder; created by `make` or `open`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, out_dir: str | Path, exp_name: str) -> RunFolder:
        """The folder of an experiment within the folder of all runs.

        Raises:
            UserError: If ``exp_name`` is not safe as a folder's name.
        """
        check_name("experiment (exp_name)", exp_name)
        return cls(Path(out_dir) / exp_name)

    def make(self) -> None:
        """Creates the folder unless it is there.

        Raises:
            UserError: If it cannot be created or written to.
        """
        try:
            self._cases.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise UserError(
                f"The output folder {self.path} is not writable ({error.strerror}): give another "
                "one with --out_dir."
            ) from error

    def open(self, expected_keys: dict[str, str]) -> None:
        """Creates the folder, or makes sure that what it holds belongs to this audit.

        Args:
            expected_keys: The key of every case of this audit, by the case's name.

        Raises:
            UserError: If the folder cannot be written to, or holds the result of a case that is
                not one of these.
        """
        self.make()
        for file in sorted(self._cases.glob("*/result.json")):
            result = _read_result(file)
            if result is not None and expected_keys.get(file.parent.name) != result.get("key"):
                raise UserError(
                    f"{self.path} already holds other results: its case {file.parent.name} was run "
                    "with another configuration. Give this audit another --exp_name or --out_dir, "
                    "or remove that folder yourself."
                )

    def case_folder(self, name: str) -> Path:
        """Where everything of one case is kept."""
        return self._cases / name

    def load(self, name: str) -> CaseResult | None:
        """The result of a finished case, or None if it has none that can be read."""
        return _read_result(self._cases / name / "result.json")

    def load_latents(self, name: str) -> np.ndarray:
        """The latents of a finished case's reconstructions, ``(N, *latent_shape)``."""
        return np.load(self._cases / name / "latent.npy", allow_pickle=False)

    def write_case(
        self,
        result: CaseResult,
        originals: Tensor,
        reconstructions: Tensor,
        latents: Tensor,
        losses: str,
    ) -> None:
        """Writes one finished case, ``result.json`` last.

        Args:
            result: The result; ``result["name"]`` names the case.
            originals: Private images ``(N, 3, H, W)`` in ``[-1, 1]``.
            reconstructions: Likewise, in the originals' order.
            latents: Their latents ``(N, *latent_shape)``.
            losses: The loss curves (`losses_csv`).
        """
        folder = self._cases / result["name"]
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder)
        save_images(originals, folder / "original.png")
        save_images(reconstructions, folder / "reconstruction.png")
        np.save(folder / "latent.npy", latents.numpy(), allow_pickle=False)
        write_atomically(folder / "losses.csv", losses)
        write_atomically(folder / "result.json", json.dumps(result, indent=2) + "\n")

    def write_tables(self, names: Iterable[str]) -> list[CaseResult]:
        """Writes ``results.csv``, ``summary.json`` and ``summary.png`` over finished cases.

        Args:
            names: The cases, in the order they are listed; unfinished ones are left out.

        Returns:
            The results, in that order.
        """
        remove_unfinished(self.path)
        results = [result for name in names if (result := self.load(name)) is not None]
        write_atomically(self.path / "summary.json", json.dumps(results, indent=2) + "\n")
        write_atomically(self.path / "results.csv", _csv(results))
        if results:
            comparison_sheet(
                [(result, self._cases / result["name"]) for result in results],
                self.path / "summary.png",
            )
        return results

    def results(self) -> list[CaseResult]:
        """The results that the tables were last written from, in their order."""
        return json.loads((self.path / "summary.json").read_text(encoding="utf-8"))

    @property
    def _cases(self) -> Path:
        return self.path / "cases"


def write_atomically(path: Path, text: str) -> None:
    """Replaces a file's content in one step: readers see the old text or the new, never half."""
    with replacing(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _read_result(file: Path) -> CaseResult | None:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:  # damaged from outside, since results are written in one step: run it again
        return None


def _csv(results: list[CaseResult]) -> str:
    columns: dict[str, None] = {}  # a dict keeps the order of first appearance
    for result in results:
        columns.update((key, None) for key, value in result.items() if not isinstance(value, dict))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(results)
    return text.getvalue()
