"""SIGTERM and Ctrl-C end a training after the batch in hand, on all devices alike."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities.exceptions import SIGTERMException

from ggl_lightning.training.ranks import (
    any_rank,
    end_with,
    is_started_by_another,
    started_processes,
)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals(Callback):
    """Turns a signal into an end that leaves a checkpoint, and a second one into the end.

    Lightning stops each rank where the signal finds it, and talks to the others from inside the
    signal's handler; they then wait for each other in different collectives. Here a handler only
    notes the signal, and the ranks agree on it after each batch of training. Before the first
    batch there is nothing to keep, and the process ends at once.

    Attributes:
        received: The signal that stopped the training; None if none did.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._trainer: Trainer | None = None
        self._is_training = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handles the signals within a block; threads other than the main one cannot."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        for number in _SIGNALS:
            # A shell's background jobs ignore Ctrl-C. Of a terminal's processes, which all get it,
            # the first one decides.
            is_ignored = before[number] is signal.SIG_IGN or (
                number is signal.SIGINT and os.environ.get("LOCAL_RANK", "0") != "0"
            )
            signal.signal(number, signal.SIG_IGN if is_ignored else self._handle)
        try:
            yield
        finally:
            for number in _SIGNALS:
                signal.signal(number, before[number])

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Takes the place of Lightning's handler, and watches the processes of other ranks."""
        self._trainer = trainer
        trainer._signal_connector._sigterm_notifier_fn = _nothing  # type: ignore
        if processes := started_processes(trainer):
            end_with(processes)

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on, signals wait for the batch in hand."""
        self._is_training = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on, signals wait for the batch in hand."""
        self._is_training = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Has Lightning stop all ranks at the end of this batch if any got a signal."""
        self._stop_if_any(trainer)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Does not wait for the end of a validation, unless other ranks take part."""
        if trainer.world_size == 1:
            self._stop_if_any(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """As after a batch."""
        self._stop_if_any(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """What is left to do takes no time."""
        self._is_training = False

    def how_to_go_on(self) -> str | None:
        """What to tell the user after an interruption; None if another process tells."""
        trainer = self._trainer
        if trainer is None:
            return "Interrupted before the training began."
        if is_started_by_another(trainer):
            return None
        checkpoint = newest_checkpoint(trainer)
        if checkpoint is None:
            return "Interrupted. There is no checkpoint yet to go on from."
        return f"Interrupted. To go on, give the same command with --ckpt_path {checkpoint}"

    def exit_code(self, code: int) -> int:
        """The exit code of an interrupted training.

        Args:
            code: What `run_interruptibly` says: Lightning's end is the same for both signals.

        Returns:
            128 plus the signal's number; 0 in a process whose end the first rank waits for.
        """
        if self._trainer is not None and is_started_by_another(self._trainer):
            return 0
        return code if self.received is None else 128 + self.received

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        for other in _SIGNALS:  # a second one ends the process, whatever it hangs in
            if signal.getsignal(other) is not signal.SIG_IGN:
                signal.signal(other, signal.SIG_DFL)
        if not self._is_training:
            raise SIGTERMException if number == signal.SIGTERM else KeyboardInterrupt

    def _stop_if_any(self, trainer: Trainer) -> None:
        if not self._is_training:
            return
        if any_rank(self.received is not None, trainer):
            trainer._signal_connector.received_sigterm = True


def newest_checkpoint(trainer: Trainer) -> Path | None:
    """The newest checkpoint of a training; None if it has written none.

    Args:
        trainer: Ran the training.
    """
    folders = {
        Path(callback.dirpath)
        for callback in trainer.checkpoint_callbacks
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is not None
    }
    files = [file for folder in folders for file in folder.glob("*.ckpt")]
    newest = max(files, key=lambda file: (file.stat().st_mtime_ns, file.name), default=None)
    if newest is None:
        return None
    return newest.relative_to(Path.cwd()) if newest.is_relative_to(Path.cwd()) else newest


def _nothing(*_: Any) -> None:
    """Lightning's handler would broadcast here, in the middle of whatever the rank is doing."""
