"""Several processes that run together begin, fail and end together."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import torch
import torch.distributed as dist
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning import Trainer
from pytorch_lightning.strategies import ParallelStrategy
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

_PATIENCE = 10.0  # seconds in which the first process may end by the same mistake on its own
_POLL = 0.25  # seconds
_SECONDS_TO_STOP = 10.0  # less than what schedulers give between SIGTERM and SIGKILL
_OBSERVER = "child-process-observer"  # the name of Lightning's thread


def any_rank(flag: bool, trainer: Trainer) -> bool:
    """Whether a flag is set on any rank: a collective, so every rank must call it.

    Args:
        flag: This rank's flag.
        trainer: Runs the training.
    """
    if trainer.world_size == 1 or not (dist.is_available() and dist.is_initialized()):
        return flag
    flags = torch.tensor([int(flag)], device=trainer.strategy.root_device)
    dist.all_reduce(flags, op=dist.ReduceOp.MAX)
    return bool(flags.item())


def is_started_by_another(trainer: Trainer) -> bool:
    """Whether this process was started by the first one, which speaks and ends for all."""
    strategy = trainer.strategy
    # Launchers of a cluster start all processes alike, and need the exit code of each.
    return (
        isinstance(strategy, ParallelStrategy)
        and isinstance(strategy.cluster_environment, LightningEnvironment)
        and strategy.global_rank > 0
    )


def started_processes(trainer: Trainer) -> list[subprocess.Popen]:
    """The processes that this one started for the other ranks."""
    launcher = trainer.strategy.launcher
    return launcher.procs if isinstance(launcher, _SubprocessScriptLauncher) else []


def end_processes(trainer: Trainer) -> None:
    """Ends the processes that this one started, which would wait for it in vain."""
    for process in started_processes(trainer):
        process.kill()


def wait_for_others(trainer: Trainer) -> None:
    """Waits until the processes that this one has started have ended, each in its own time.

    Who supervises the first process takes its end for the end of all, and would kill the others
    while they still write what they have. One that does not end within seconds waits for this
    process itself, in a meeting that there will not be, and ends after it.

    Args:
        trainer: Whose processes these are; those that others have started are not waited for.
    """
    deadline = time.monotonic() + _SECONDS_TO_STOP
    for process in started_processes(trainer):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))


def end_as_failed_process(trainer: Trainer) -> None:
    """Ends this process at once if another that it started has failed, and has said why.

    Its own error is then only that nobody answers it.

    Args:
        trainer: Runs the training.
    """
    for process in started_processes(trainer):
        try:
            code = process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            continue
        if code:
            _end_all(started_processes(trainer), code)


def end_with(processes: Sequence[subprocess.Popen]) -> None:
    """Ends this process, with their exit code, when others that it started fail.

    It may hang in a collective by then, which nothing but the end of the process ends. Lightning
    watches them too, but kills this process by SIGKILL, which hides the exit code.

    Args:
        processes: The other ranks' processes.
    """
    for thread in threading.enumerate():
        if thread.name == _OBSERVER:
            thread._child_processes = []  # type: ignore[attr-defined]
    threading.Thread(target=_watch, args=(processes,), daemon=True, name="ranks-observer").start()


def _watch(processes: Sequence[subprocess.Popen]) -> None:
    while True:
        time.sleep(_POLL)
        codes = [process.poll() for process in processes]
        failed = next((code for code in codes if code), None)
        if failed is not None:
            break
        if all(code == 0 for code in codes):
            return
    time.sleep(_PATIENCE)
    _end_all(processes, failed)


def _end_all(processes: Sequence[subprocess.Popen], code: int) -> None:
    for process in processes:
        process.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if code > 0 else 128 - code)
