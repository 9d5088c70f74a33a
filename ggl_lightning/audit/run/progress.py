"""What an audit tells while it runs: how far it is, and how long the rest takes."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import pytorch_lightning as pl
from tqdm import tqdm

from ggl_lightning.audit.plan.case import Case, UtilitySpec

_EVERY = 30.0
"""Seconds between two lines where there is no terminal."""


def say_on_terminal(text: str) -> None:
    """A line for somebody who waits at a terminal; nothing goes to files."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)


def _shows_bars() -> bool:
    """Whether there is a terminal, and one with room for bars: some recorders' have no rows."""
    return sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).lines > 1


class AuditProgress(pl.Callback):
    """Shows what is run, how much is left, and how long that takes at the pace so far.

    On a terminal it is a live bar, elsewhere (a log file, CI) a line every half minute, so that
    short audits print nothing. Only the process of rank zero shows it, of its own share of the
    work. Cases come before trainings, and each has a bar of its own where there is one process.
    """

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._stage = ""
        self._done = self._total = 0
        self._started = self._said = 0.0

    def on_test_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Names what is run now."""
        if not trainer.is_global_zero or not isinstance(batch, Case | UtilitySpec):
            return
        whole = int(trainer.num_test_batches[0])
        trainings = 0
        if trainer.world_size == 1 and getattr(pl_module, "utility", None) is not None:
            trainings = len(trainer.datamodule.defenses)  # type: ignore[attr-defined]
        if isinstance(batch, Case):
            self._enter("cases", whole - trainings)
            now = batch.spec.name
        else:
            self._enter("trainings under a defense", trainings or whole)
            now = batch.defense_name
        if self._bar is not None:
            self._bar.set_postfix_str(now)

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Counts it."""
        if not self._stage:
            return
        self._done += 1
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update()
        elif now - self._said > _EVERY:
            left = (now - self._started) / self._done * (self._total - self._done)
            text = f"{self._done} of {self._total} {self._stage}, about {left:.0f} s left"
            print(text, file=sys.stderr, flush=True)
            self._said = now

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Says what comes at the end, which the module does after this."""
        rows = self._total if self._stage else 0
        self._close()
        if rows and trainer.is_global_zero:
            say_on_terminal("Statistics, tables and the report are made; that takes seconds.")

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Leaves the terminal as it was."""
        self._close()

    def _enter(self, stage: str, total: int) -> None:
        if stage == self._stage:
            return
        self._close()
        self._stage, self._done, self._total = stage, 0, total
        self._started = self._said = time.monotonic()
        if _shows_bars():
            self._bar = tqdm(total=total, desc=stage.capitalize(), unit="", dynamic_ncols=True)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str("")
            self._bar.close()
        self._bar, self._stage = None, ""
