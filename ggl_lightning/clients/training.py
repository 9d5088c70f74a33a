"""Training of a client model: an ordinary classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.cli import ReduceLROnPlateau as MonitoringPlateau
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric

from ggl_lightning.clients.building import build_client_model
from ggl_lightning.clients.trained import CHECKPOINT_KEY, ClientMetadata, class_path
from ggl_lightning.clients.trial_step import check_logits, trial_step_problems
from ggl_lightning.errors import UserError
from ggl_lightning.training.images import TrainingImages

_LARGEST_TRIAL_BATCH = 2


class ClientTraining(LightningModule):
    """Minimises the cross-entropy of a client model on batches ``(images, labels)``.

    Images are ``(N, 3, H, W)`` in ``[-1, 1]``, labels ``(N,)``, int64. Logged: ``train/loss``
    every ``log_every_n_steps`` batches, ``train/accuracy``, ``val/loss`` and ``val/accuracy`` every
    epoch; accuracies are shares of images, 0 to 1, over all ranks. A checkpoint holds the validated
    accuracy of its weights if it was written after a validation and before the next batch.

    Args:
        client_model: Builds the client model, or is it.
        optimizer: Builds the optimiser from the parameters.
        lr_scheduler: Builds the schedule of the learning rate, advanced once an epoch; None for a
            constant one. One that waits for a plateau is Lightning's, which names what it monitors.

    Attributes:
        logged: Names of what is logged.

    Raises:
        UserError: While training, if labels or logits do not fit, or if the loss is no longer
            finite at a validation.
    """

    logged = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")

    def __init__(
        self,
        client_model: Callable[[], nn.Module] | nn.Module,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__()
        self.client_model = build_client_model(client_model)
        self._optimizer = optimizer
        self._lr_scheduler = lr_scheduler
        self._train_accuracy = MeanMetric()
        self._val_accuracy = MeanMetric()
        self._validated_accuracy: float | None = None
        self._settings: dict[str, Any] | None = None

    def remember_settings(self, settings: dict[str, Any]) -> None:
        """Keeps what the command line was given in every checkpoint, to compare on resuming.

        Args:
            settings: Plain containers and values only.
        """
        self._settings = settings

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser, with its schedule if there is one."""
        optimizer = self._optimizer(self.client_model.parameters())
        if self._lr_scheduler is None:
            return optimizer
        scheduler = self._lr_scheduler(optimizer)
        if isinstance(scheduler, MonitoringPlateau):
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": scheduler, "monitor": scheduler.monitor},
            }
        return [optimizer], [scheduler]

    def problems(self, images: TrainingImages | None, trainer: Trainer | None) -> list[str]:
        """See `Trainable.problems`: one step of a copy, and what its schedule monitors."""
        problems = self._plateau_problems(trainer)
        if images is None or images.batches == 0:
            return problems
        count = min(images.smallest_batch, _LARGEST_TRIAL_BATCH)
        strategy = None if trainer is None else trainer.strategy
        several = isinstance(strategy, DDPStrategy) and images.devices > 1
        labels = images.all_labels
        noise = torch.Generator().manual_seed(0)
        return problems + trial_step_problems(
            self.client_model,
            self._optimizer,
            self._lr_scheduler,
            torch.rand(count, 3, *2 * [images.image_size], generator=noise) * 2 - 1,
            torch.stack([labels.min(), labels.max()]),
            several and not strategy._ddp_kwargs.get("find_unused_parameters", False),  # type: ignore[union-attr]
        )

    def _plateau_problems(self, trainer: Trainer | None) -> list[str]:
        if self._lr_scheduler is None:
            return []
        try:
            scheduler = self._lr_scheduler(self._optimizer(self.client_model.parameters()))
        except (RuntimeError, ValueError, TypeError) as error:
            return [f"The optimiser or its schedule cannot be used: {error}."]
        if not isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            return []
        if not isinstance(scheduler, MonitoringPlateau):
            return [
                "lr_scheduler is torch's ReduceLROnPlateau, which does not say what it monitors: "
                "set class_path to pytorch_lightning.cli.ReduceLROnPlateau, and monitor in its "
                "init_args, e.g. val/loss."
            ]
        unvalidated = (
            trainer is not None
            and scheduler.monitor.startswith("val/")
            and (trainer.limit_val_batches == 0 or trainer.check_val_every_n_epoch != 1)
        )
        if scheduler.monitor not in self.logged or unvalidated:
            known = [name for name in self.logged if not unvalidated or name.startswith("train/")]
            return [
                f"lr_scheduler monitors {scheduler.monitor!r}, which is not logged every epoch: "
                f"choose one of {', '.join(known)}."
            ]
        return []

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch."""
        self._validated_accuracy = None  # of weights that are about to change
        loss, correct = self._evaluate(batch, batch_idx)
        self._train_accuracy.update(correct)
        self.log("train/loss", loss.detach(), prog_bar=True)
        self.log("train/accuracy", self._train_accuracy, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Accuracy on one batch."""
        loss, correct = self._evaluate(batch, batch_idx)
        if not torch.isfinite(loss):
            raise UserError(
                f"The training diverged: the validation loss is {loss.item()}. Lower the "
                "optimiser's learning rate."
            )
        self._val_accuracy.update(correct)
        self.log("val/loss", loss, batch_size=len(correct), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """Logs the accuracy over all ranks and keeps it for the checkpoint."""
        accuracy = self._val_accuracy.compute()
        self._val_accuracy.reset()
        self.log("val/accuracy", accuracy, prog_bar=True)
        if not self.trainer.sanity_checking:
            self._validated_accuracy = accuracy.item()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what is known of the client model, and the settings of the run."""
        metadata = ClientMetadata(
            class_path=class_path(self.client_model),
            val_accuracy=self._validated_accuracy,
            epoch=self.current_epoch,
            provenance=None,
        )
        checkpoint[CHECKPOINT_KEY] = {**metadata, "settings": self._settings}

    def _evaluate(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> tuple[Tensor, Tensor]:
        images, labels = batch
        logits = self.client_model(images)
        if batch_idx == 0:  # once an epoch: reading values waits for the device
            check_logits(logits, len(images), labels)
        correct = (logits.argmax(dim=1) == labels).float()
        return F.cross_entropy(logits, labels), correct
