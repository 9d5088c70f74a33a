"""A training whose weights are no longer numbers stops, and leaves its last good checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn

from ggl_lightning.errors import UserError


def is_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all values are finite; asks the device once.

    Args:
        tensors: Of any dtypes and shapes, on one device; those without fractions count as finite.
    """
    floats = [t.detach() for t in tensors if t.is_floating_point() and t.numel() > 0]
    if not floats:
        return True
    # The largest magnitude of each: a sum could overflow.
    return bool(nn.utils.get_total_norm(floats, norm_type=torch.inf).isfinite())


def weights_of(module: nn.Module) -> list[Tensor]:
    """A module's parameters and buffers."""
    return [*module.parameters(), *module.buffers()]


class StopsWhenDiverged(Callback):
    """Looks at the weights when they are logged, validated or kept.

    That is often enough to lose little time, and seldom enough not to make the host wait for the
    device in every batch. Nothing that is not finite gets into a checkpoint.

    Args:
        advice: What a user should change, as a sentence.
    """

    def __init__(self, advice: str) -> None:
        self.advice = advice

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Looks in the batches that loggers read, which wait for the device anyway."""
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (batch_idx + 1) % every == 0:
            # Parameters are the same on every rank, and so is what is done about them.
            self._check(trainer, pl_module.parameters())

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks before any checkpoint of the epoch is written."""
        self._check(trainer, pl_module.parameters())

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks before images are judged that are none."""
        self._check(trainer, pl_module.parameters())

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Looks at everything that a checkpoint would keep, before a file is opened."""
        self._check(trainer, checkpoint["state_dict"].values())

    def _check(self, trainer: Trainer, tensors: Iterable[Tensor]) -> None:
        if is_finite(tensors):
            return
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint):
                callback.save_on_exception = False  # these weights are not worth keeping
        raise UserError(
            f"The training diverged in epoch {trainer.current_epoch}: its weights are no longer "
            f"finite. {self.advice} Checkpoints from before are kept."
        )
