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

_CREATED = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW


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
        with self._writing():
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._folder / f".{file.stem}.lock", _CREATED, 0o666)
        try:
            _wait_for(lock, self._folder)
            if file.is_file():  # another process has made it
                return _read(file)
            made = make()
            with self._writing():  # the tensors last: they mean that all is there
                write_chunks(file.with_suffix(".json"), [dumps(dict(key), indent=2).encode()])
                write_safetensors(file, made, {})
        finally:
            os.close(lock)
        return made

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"What was learnt cannot be kept in {self._folder} ({error.strerror}): "
                "give another folder with --out_dir."
            ) from error


def _read(file: Path) -> Mapping[str, Tensor]:
    try:
        tensors, _ = read_safetensors(file)
    except UserError as error:
        raise UserError(f"{error} Remove it, and it is made anew.") from error
    _log.info("What was learnt before is read from %s.", file)
    return tensors


def _wait_for(lock: int, folder: Path) -> None:
    """One process at a time; where the file system has no locks, all may do the same work."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:
        _log.warning("%s has no locks: processes may each fit the same.", folder)
