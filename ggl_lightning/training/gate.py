"""Everything that stands in the way of a training, found before its first step or file."""

from __future__ import annotations

import math
import shutil
import tempfile
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping, ModelCheckpoint
from pytorch_lightning.plugins.precision import HalfPrecision
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor

from ggl_lightning.training.images import TrainingImages

_PROGRESS = ("epoch", "step")  # what callbacks can monitor without it being logged
_OPTIMISER_STATE = 2  # tensors that Adam keeps for each parameter


@runtime_checkable
class Trainable(Protocol):
    """A module that knows what it needs.

    Attributes:
        logged: Names of what it logs, for callbacks that monitor them.
    """

    logged: tuple[str, ...]

    def problems(self, images: TrainingImages | None, trainer: Trainer | None) -> list[str]:
        """What keeps it from being trained.

        Args:
            images: The images; None if they are not known beforehand.
            trainer: Runs the training; None if it could not be built.

        Returns:
            Texts for the user.
        """


def amount_problems(trainer: Any, images: TrainingImages | None) -> list[str]:
    """What leaves nothing to train on, or to validate, or is no number of batches or epochs.

    Args:
        trainer: The Trainer's settings.
        images: The images; None if they are not known beforehand.
    """
    problems: list[str] = []
    for name in ("check_val_every_n_epoch", "log_every_n_steps"):
        value = trainer.get(name)
        lowest = 1 if name.startswith("check") else 0
        if value is not None and value < lowest:
            problems.append(f"trainer.{name} is {value}: it must be at least {lowest}.")
    for name in ("max_epochs", "max_steps", "limit_train_batches"):
        if trainer.get(name) is not None and trainer[name] == 0:
            problems.append(
                f"trainer.{name} is {trainer[name]}, so that nothing would be trained: set it "
                "above 0, or leave it out."
            )
    if images is None:
        return problems
    if images.batches == 0:
        share = f"each of {images.devices} devices" if images.devices > 1 else "the train split"
        problems.append(
            f"batch_size is {images.batch_size}, but {share} has only {images.per_device} images: "
            "lower batch_size, or set drop_last to false."
        )
        return problems
    available = {
        "limit_train_batches": images.batches,
        "limit_val_batches": images.validation_batches,
        "overfit_batches": images.batches,
    }
    for name, batches in available.items():
        share = trainer.get(name)
        if isinstance(share, float) and 0 < share <= 1 and batches > 0 and batches * share < 1:
            problems.append(
                f"trainer.{name} is {share}, which is less than one of the {batches} batches: set "
                f"it to at least {math.ceil(1000 / batches) / 1000}, or to a number of batches."
            )
    every = trainer.get("val_check_interval")
    limit = trainer.get("limit_train_batches")
    batches = images.batches
    if isinstance(limit, int) and limit > 0:
        batches = min(batches, limit)
    if (
        isinstance(every, int)
        and not isinstance(every, bool)
        and trainer.get("check_val_every_n_epoch") is not None
        and every > batches
    ):
        problems.append(
            f"trainer.val_check_interval is {every}, but an epoch has {batches} batches: lower it, "
            "or set trainer.check_val_every_n_epoch to null to count over epochs."
        )
    return problems


def trainer_problems(trainer: Trainer, module: LightningModule) -> list[str]:
    """What a Trainer is set to that trainings of this module cannot do.

    Args:
        trainer: The Trainer.
        module: What is to be trained.
    """
    problems: list[str] = []
    if not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy) or _spawns(trainer):
        problems.append(
            f"trainer.strategy is {type(trainer.strategy).__name__}, which trainings cannot use: "
            "it forks or spawns processes, or splits weights. Set it to auto, or to ddp for "
            "several devices."
        )
    precision = trainer.precision_plugin
    if isinstance(precision, HalfPrecision) and trainer.strategy.root_device.type == "cpu":
        problems.append(
            f"trainer.precision is {precision.precision}, which has no use on a CPU: weights in "
            "half precision do not learn there. Set it to 32-true, or to auto."
        )
    if not module.automatic_optimization:
        if trainer.gradient_clip_val:
            problems.append(
                f"trainer.gradient_clip_val is {trainer.gradient_clip_val}, which the prior's "
                "training has no use for: the gradient penalty bounds the critic. Leave it out."
            )
        if trainer.accumulate_grad_batches != 1:
            problems.append(
                f"trainer.accumulate_grad_batches is {trainer.accumulate_grad_batches}, which the "
                "prior's training does not do: raise data.init_args.batch_size instead."
            )
    logged = (*module.logged, *_PROGRESS) if isinstance(module, Trainable) else None
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        monitor = (
            callback.monitor if isinstance(callback, ModelCheckpoint | EarlyStopping) else None
        )
        if logged is not None and monitor is not None and monitor not in logged:
            problems.append(
                f"{type(callback).__name__} monitors {monitor!r}, which is not logged: choose "
                f"one of {', '.join(logged)}."
            )
    return problems


def folder_problems(trainer: Trainer, module: LightningModule) -> list[str]:
    """What keeps a run from being written; leaves nothing behind.

    Args:
        trainer: The Trainer.
        module: What is to be trained.
    """
    folder = None if trainer.fast_dev_run else trainer.log_dir  # type: ignore[attr-defined]
    if folder is None:
        return []
    path = Path(folder)
    try:
        if (path / "config.yaml").exists():
            return [another_run(trainer, path)]
        free = _free_bytes_if_writable(path)
    except OSError as error:
        return [f"Cannot write into the run folder {folder!r}: {error}. {_other_folder(trainer)}"]
    kept = [c for c in trainer.checkpoint_callbacks if isinstance(c, Checkpoint)]
    tensors: list[Tensor] = [*module.parameters(), *module.buffers()]
    each = sum(t.numel() * t.element_size() for t in tensors) * (1 + _OPTIMISER_STATE)
    needed = each * (len(kept) + 1)  # a new one is complete before it takes an old one's place
    if kept and free < needed:
        return [
            f"The disk of the run folder {folder!r} has {free / 1e6:.0f} MB left, and checkpoints "
            f"take about {needed / 1e6:.0f} MB: make room. {_other_folder(trainer)}"
        ]
    return []


def another_run(trainer: Trainer, folder: Path) -> str:
    """What to say of a run folder that is taken.

    Args:
        trainer: The Trainer.
        folder: The folder.
    """
    return (
        f"The run folder {str(folder)!r} holds another run already, and nothing is overwritten. "
        f"{_other_folder(trainer)}"
    )


def _other_folder(trainer: Trainer) -> str:
    if trainer.loggers:
        return "Choose another folder or version in trainer.logger."
    return "Choose another folder with trainer.default_root_dir."


def _spawns(trainer: Trainer) -> bool:
    launcher = trainer.strategy.launcher
    return launcher is not None and "MultiProcessing" in type(launcher).__name__


def _free_bytes_if_writable(folder: Path) -> int:
    """Free bytes of the disk that a folder is on.

    Raises:
        OSError: If no file can be made in it.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    made: list[Path] = []
    try:
        for path in reversed(missing):
            path.mkdir()
            made.append(path)
        with tempfile.TemporaryFile(dir=folder):
            return shutil.disk_usage(folder).free
    finally:
        for path in reversed(made):
            path.rmdir()
