"""What attacks have learnt, kept in the run folder."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from ggl_lightning.atomic_file import write_chunks
from ggl_lightning.attacks.fits import FitKey, Fits, MemoryFits, fit_name
from ggl_lightning.audit.results.numbers import dumps
from ggl_lightning.errors import UserError
from ggl_lightning.weight_files import read_safetensors, write_safetensors

_log = logging.getLogger(__name__)


class FolderFits(Fits):
    """Keeps fits as ``NAME.safetensors`` with ``NAME.json``, the key, beside each.

    All processes of an audit share the folder: one makes a fit, while others that ask for the same
    wait for it. A fit that an interruption ended is made anew.

    Args:
        folder: The folder; created with the first fit.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._memory = MemoryFits()

    def get(self, key: FitKey, make: Callable[[], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
        """See `Fits.get`.

        Raises:
            UserError: If a file is damaged, or none can be written.
        """
        return self._memory.get(key, lambda: self._of_folder(key, make))

    def _of_folder(
        self, key: FitKey, make: Callable[[], Mapping[str, Tensor]]
    ) -> Mapping[str, Tensor]:
        file = self._folder / f"{fit_name(key)}.safetensors"
        if file.is_file():
            return _read(file)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with _alone(self._folder / f".{file.stem}.lock"):
                if file.is_file():
                    return _read(file)
                made = make()
                write_safetensors(file, made, {})
                write_chunks(file.with_suffix(".json"), [dumps(dict(key), indent=2).encode()])
        except OSError as error:
            raise UserError(
                f"What was learnt cannot be kept in {self._folder} ({error.strerror}): "
                "give another folder with --out_dir."
            ) from error
        return made


def _read(file: Path) -> Mapping[str, Tensor]:
    try:
        tensors, _ = read_safetensors(file)
    except UserError as error:
        raise UserError(f"{error} Remove it, and it is made anew.") from error
    _log.info("What was learnt before is read from %s.", file)
    return tensors


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One process at a time; where the file system has no locks, all may do the same work."""
    file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            _log.warning("%s has no locks: processes may each fit the same.", lock.parent)
        yield
    finally:
        os.close(file)
