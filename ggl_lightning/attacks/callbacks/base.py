"""The hooks of a search, and the module that calls them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytorch_lightning as pl
from torch import Tensor

from ggl_lightning.attacks.searches.loop import SearchLoop


class SearchCallback(pl.Callback):
    """A Lightning callback with hooks around the rounds of a search.

    Give it to the ``Trainer`` like any other (``trainer.callbacks`` in YAML). Callbacks without
    these hooks are not affected by them.

    Attributes:
        decides_results: Whether what a search finds depends on the callback: its class and public
            attributes then belong to the keys of results.
    """

    decides_results: ClassVar[bool] = False

    def on_search_start(self, trainer: pl.Trainer, pl_module: SearchHost, loop: SearchLoop) -> None:
        """Called before the first round of every trial, and when an interrupted one goes on."""

    def on_round_start(self, trainer: pl.Trainer, pl_module: SearchHost, loop: SearchLoop) -> None:
        """Called before a round's population is asked for."""

    def on_round_end(self, trainer: pl.Trainer, pl_module: SearchHost, loop: SearchLoop) -> None:
        """Called when the search has learnt a round's losses."""

    def on_search_end(self, trainer: pl.Trainer, pl_module: SearchHost, loop: SearchLoop) -> None:
        """Called when `SearchLoop.best_latent` is the trial's answer."""


class SearchHost(pl.LightningModule):
    """A LightningModule that runs searches and tells the Trainer's search callbacks of them.

    Attributes:
        case_name: Name of the case under attack; callbacks file what they write under it.
        private_images: The images the client holds, ``(N, 3, H, W)`` in ``[-1, 1]``, for display
            beside a reconstruction. Only callbacks see them, never the attack.
        case_key: Names everything that determines the case's result.
        case_folder: Where callbacks may keep files of the case; None if nowhere.
    """

    case_name: str = "search"
    private_images: Tensor | None = None
    case_key: str = ""
    case_folder: Path | None = None

    def notify(self, hook: str, loop: SearchLoop) -> None:
        """Calls ``hook`` on every `SearchCallback` among the Trainer's callbacks, in order."""
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, SearchCallback):
                getattr(callback, hook)(self.trainer, self, loop)
