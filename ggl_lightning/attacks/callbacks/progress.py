"""A progress bar for every search."""

from __future__ import annotations

import sys

import pytorch_lightning as pl
from tqdm import tqdm

from ggl_lightning.attacks.callbacks.base import SearchCallback, SearchHost
from ggl_lightning.attacks.searches.loop import SearchLoop


class SearchProgressBar(SearchCallback):
    """Shows rounds, mean and best loss, candidates per second and the time left.

    On a terminal it is a live bar, elsewhere (a log file, CI) one line when a trial ends.
    Only the process of rank zero shows it.
    """

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def on_search_start(self, trainer: pl.Trainer, pl_module: SearchHost, loop: SearchLoop) -> None:
        """Opens the bar."""
        if trainer.is_global_zero and sys.stderr.isatty():
            self._bar = tqdm(
                total=loop.rounds, initial=loop.round, desc=_title(pl_module, loop), unit="round"
            )

    def on_round_end(self, trainer: pl.Trainer, pl_module: SearchHost, loop: SearchLoop) -> None:
        """Moves the bar by one round."""
        if self._bar is not None:
            self._bar.set_postfix_str(_state(loop), refresh=False)
            self._bar.update()

    def on_search_end(self, trainer: pl.Trainer, pl_module: SearchHost, loop: SearchLoop) -> None:
        """Closes the bar, or prints the trial's one line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        elif trainer.is_global_zero:
            print(
                f"{_title(pl_module, loop)}: {loop.round} rounds in {loop.elapsed:.1f} s, "
                f"{_state(loop)}",
                file=sys.stderr,
                flush=True,
            )


def _title(pl_module: SearchHost, loop: SearchLoop) -> str:
    return f"{pl_module.case_name} trial {loop.trial}"


def _state(loop: SearchLoop) -> str:
    mean = f"loss {loop.losses.mean().item():.4g}, " if len(loop.losses) else ""
    speed = loop.evaluations / max(loop.elapsed, 1e-9)
    return f"{mean}best {loop.best_loss:.4g}, {speed:.0f} candidates/s"
