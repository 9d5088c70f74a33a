"""Loss curves and image snapshots of every search in TensorBoard."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from ggl_lightning.attacks.callbacks.base import SearchCallback, SearchHost
from ggl_lightning.attacks.searches.loop import SearchLoop
from ggl_lightning.disk_errors import is_disk_error
from ggl_lightning.errors import check_positive
from ggl_lightning.image_range import to_unit_range

_log = logging.getLogger(__name__)


class SearchTensorBoard(SearchCallback):
    """Writes each trial's losses, and its best image beside the private one.

    Tags are ``<case>/trial<k>/loss_mean``, ``loss_min`` and ``loss_best`` (lowest so far) at every
    round, and ``<case>/trial<k>/private_and_best``: the private images on the left, the
    best candidate's so far on the right (those of a batch in no particular order). The step is
    the number of rounds. Does nothing when the Trainer has no TensorBoard logger.

    That the disk takes no more is logged once and does not end the search.

    Args:
        every_n_rounds: Rounds between image snapshots; the last round always has one.

    Raises:
        UserError: If ``every_n_rounds`` is not positive.
    """

    def __init__(self, every_n_rounds: int = 50) -> None:
        check_positive("every_n_rounds", every_n_rounds)
        self.every_n_rounds = every_n_rounds
        self._told = False

    def on_round_end(self, trainer: pl.Trainer, pl_module: SearchHost, loop: SearchLoop) -> None:
        """Writes the round's losses, and an image when it is due."""
        prefix = f"{pl_module.case_name}/trial{loop.trial}"
        for logger in _tensorboards(trainer):
            with self._writing():
                write = logger.experiment.add_scalar
                write(f"{prefix}/loss_mean", loop.losses.mean().item(), loop.round)
                write(f"{prefix}/loss_min", loop.losses.min().item(), loop.round)
                write(f"{prefix}/loss_best", loop.best_loss, loop.round)
        if loop.round % self.every_n_rounds == 0:
            self._show(trainer, pl_module, loop)

    def on_search_end(self, trainer: pl.Trainer, pl_module: SearchHost, loop: SearchLoop) -> None:
        """Writes the final image."""
        self._show(trainer, pl_module, loop)

    def _show(self, trainer: pl.Trainer, pl_module: SearchHost, loop: SearchLoop) -> None:
        loggers = _tensorboards(trainer)
        if not loggers or loop.best_latent is None:
            return
        with torch.no_grad():
            best = loop.objective.images(loop.best_latent.unsqueeze(0))[0].cpu()
        private = pl_module.private_images
        columns = [best] if private is None else [private.cpu(), best]
        picture = torch.cat([_stack(images) for images in columns], dim=2)
        tag = f"{pl_module.case_name}/trial{loop.trial}/private_and_best"
        for logger in loggers:
            with self._writing():
                logger.experiment.add_image(tag, picture, loop.round)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not is_disk_error(error):
                raise
            if not self._told:
                _log.warning("The search goes on without TensorBoard: %s", error)
            self._told = True


def _stack(images: Tensor) -> Tensor:
    """One picture in ``[0, 1]`` with the images ``(N, 3, H, W)`` one below the other."""
    return to_unit_range(torch.cat(list(images), dim=1))


def _tensorboards(trainer: pl.Trainer) -> list[TensorBoardLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
