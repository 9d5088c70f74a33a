"""Whether an audit can run under a Trainer: its devices, precision, strategy and limits."""

from __future__ import annotations

import os

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher

_PRECISION = "32-true"


def trainer_problems(trainer: pl.Trainer) -> list[str]:
    """What stands in the way of an audit under a Trainer.

    Args:
        trainer: As it was built; nothing in it is started.

    Returns:
        Texts for the user, one for each setting that does not fit.
    """
    problems = []
    if trainer.test_loop.inference_mode:
        problems.append(
            "The Trainer runs the test in inference mode, where no gradient can be computed: set "
            "trainer.inference_mode to false."
        )
    if trainer.precision != _PRECISION:
        problems.append(
            f"trainer.precision is {trainer.precision}: an audit compares updates in float32, "
            f"whatever the client model was trained in. Set it to {_PRECISION}."
        )
    return [*problems, *_strategy_problems(trainer), *_limit_problems(trainer)]


def _strategy_problems(trainer: pl.Trainer) -> list[str]:
    strategy = trainer.strategy
    problems = []
    if not isinstance(strategy, SingleDeviceStrategy | DDPStrategy):
        name = type(strategy).__name__
        problems.append(
            f"trainer.strategy is {name}: every process of an audit holds the whole models and "
            "runs cases of its own. Set it to auto, or to ddp for several devices."
        )
    elif not isinstance(strategy.launcher, _SubprocessScriptLauncher | None):
        problems.append(
            f"trainer.strategy starts processes by {_start_method(strategy)}, and these hand no "
            "results back to the command: set it to ddp."
        )
    if trainer.world_size > 1 and trainer._accelerator_connector.use_distributed_sampler:
        problems.append(
            "trainer.use_distributed_sampler is true: it would run cases twice, to give every "
            "process as many. Set it to false; an audit shares out its cases itself."
        )
    if trainer.num_nodes > 1 and _nobody_starts_the_others():
        problems.append(
            f"trainer.num_nodes is {trainer.num_nodes}, but nothing says which of them this is: "
            "start the command on every node by torchrun or a batch system, or set NODE_RANK and "
            "MASTER_ADDR."
        )
    return problems


def _nobody_starts_the_others() -> bool:
    """Whether a run on several nodes would wait for ever for nodes that nobody has told of it."""
    return "NODE_RANK" not in os.environ and "GROUP_RANK" not in os.environ


def _start_method(strategy: DDPStrategy | SingleDeviceStrategy) -> str:
    return getattr(strategy, "_start_method", None) or type(strategy.launcher).__name__


def _limit_problems(trainer: pl.Trainer) -> list[str]:
    """Refuses what would leave cases out, so that an audit that ends well is a whole one."""
    advice = "To try an audit out, give a small idx and budget; --dry_run says what it would do."
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        return [f"trainer.fast_dev_run would leave cases out. {advice}"]
    limit = trainer.limit_test_batches
    if isinstance(limit, float) and limit == 1.0:
        return []
    return [f"trainer.limit_test_batches is {limit:g}, which would leave cases out. {advice}"]
