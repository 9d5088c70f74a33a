"""A time limit for every search."""

from __future__ import annotations

import pytorch_lightning as pl

from ggl_lightning.attacks.callbacks.base import SearchCallback, SearchHost
from ggl_lightning.attacks.searches.loop import SearchLoop
from ggl_lightning.errors import check_positive


class SearchTimeLimit(SearchCallback):
    """Ends a trial at the first round that finishes after ``seconds``.

    The trial's answer so far counts, and its result says that, and why, it stopped early. A run
    with a time limit is not reproducible to the bit: how many rounds fit depends on the machine.

    Args:
        seconds: Time per trial.

    Raises:
        UserError: If ``seconds`` is not positive.
    """

    decides_results = True

    def __init__(self, seconds: float) -> None:
        check_positive("seconds of the search time limit", seconds)
        self.seconds = seconds

    def on_round_end(self, trainer: pl.Trainer, pl_module: SearchHost, loop: SearchLoop) -> None:
        """Stops the search if its time is up."""
        if loop.elapsed >= self.seconds and loop.round < loop.rounds:
            loop.request_stop(f"time limit of {self.seconds:g} s reached at round {loop.round}")
