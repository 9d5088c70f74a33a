"""Snapshots of a search on disk, so that an interruption costs seconds and not the case."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import SIGTERMException

from ggl_lightning.attacks.callbacks.base import SearchCallback, SearchHost
from ggl_lightning.attacks.searches.loop import SearchLoop
from ggl_lightning.attacks.searches.snapshots import TrialSnapshot, read_trials, write_trials
from ggl_lightning.errors import UserError, check_non_negative

SNAPSHOT_FILE = "snapshot.safetensors"

_log = logging.getLogger(__name__)


class SearchSnapshots(SearchCallback):
    """Keeps what an interrupted case needs to go on, in ``snapshot.safetensors`` in its folder.

    Every process keeps its own cases. SIGTERM ends the search before its next round; Ctrl-C or an
    error at once. Either way the rounds that were complete are saved first. The file of a case that
    has a result is removed.

    That a snapshot cannot be written is logged and does not end the search: it would only have
    been needed after an interruption.

    Args:
        every_seconds: Least time between two snapshots; 0 takes one before every round.

    Raises:
        UserError: If ``every_seconds`` is negative.
    """

    def __init__(self, every_seconds: float = 30) -> None:
        check_non_negative("every_seconds of the search snapshots", every_seconds)
        self.every_seconds = every_seconds
        self._saved_at = time.monotonic()
        self._unsaved: _Unsaved | None = None

    def on_round_start(self, trainer: pl.Trainer, pl_module: SearchHost, loop: SearchLoop) -> None:
        """Saves when it is time to.

        Raises:
            SIGTERMException: If the process was asked to terminate.
        """
        # Between rounds, whatever the other callbacks do at the end of a round has been done.
        self._unsaved = _state(pl_module, loop)
        terminating = trainer.received_sigterm
        if terminating or time.monotonic() - self._saved_at >= self.every_seconds:
            self._save()
        if terminating:
            raise SIGTERMException

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Saves the rounds that were complete."""
        self._save()

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Removes the snapshot of the case, which is complete."""
        self._unsaved = None
        file = _file(pl_module)
        if file is None:
            return
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("Cannot remove %s, which is not needed any more: %s.", file, error)

    def _save(self) -> None:
        if self._unsaved is None:
            return
        try:
            write_trials(*self._unsaved)
        except UserError as error:
            _log.warning("The search goes on without a snapshot: %s", error)
        self._unsaved = None
        self._saved_at = time.monotonic()


class _Unsaved(NamedTuple):
    """Arguments of `write_trials`."""

    file: Path
    key: str
    trials: tuple[TrialSnapshot, ...]


def _state(pl_module: SearchHost, loop: SearchLoop) -> _Unsaved | None:
    file = _file(pl_module)
    trials = (*loop.earlier, loop) if loop.round else loop.earlier
    if file is None or not trials:
        return None
    return _Unsaved(file, pl_module.case_key, tuple(trial.snapshot() for trial in trials))


def kept_trials(pl_module: SearchHost) -> tuple[TrialSnapshot, ...]:
    """What was saved of the module's case before it was interrupted; empty if it starts afresh.

    A snapshot that is damaged or not of this case is ignored, which is logged.
    """
    file = _file(pl_module)
    if file is None or not file.exists():
        return ()
    try:
        return read_trials(file, pl_module.case_key)
    except UserError as error:
        _log.warning("%s starts afresh: %s", pl_module.case_name, error)
        return ()


def _file(pl_module: pl.LightningModule) -> Path | None:
    folder = pl_module.case_folder if isinstance(pl_module, SearchHost) else None
    return None if folder is None else folder / SNAPSHOT_FILE
