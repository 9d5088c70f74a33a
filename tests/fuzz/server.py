"""Runs commands in forks of a process that has everything imported, one at a time.

Reads requests from standard input, one JSON object a line, and answers each with one line. A fork
shares nothing with the next one: neither warnings, signals, threads, seeds nor memory limits.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

REPOSITORY = Path(__file__).parents[2]
_ROUNDS = 2
_BATCHES = 3


def main() -> int:
    """Serves until standard input ends; in a fork, runs the command and ends as it does."""
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    for line in requests:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _run(request)
        print(json.dumps(_ending(child, request["seconds"])), file=answers, flush=True)
    return 0


def _ending(child: int, seconds: float) -> dict[str, Any]:
    """Waits for a fork, ends it if it takes too long, and ends what it left running."""
    started, status = time.monotonic(), None
    while status is None and time.monotonic() - started < seconds:
        ended, how = os.waitpid(child, os.WNOHANG)
        if ended:
            status = how
        else:
            time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    if status is None:
        os.waitpid(child, 0)
    return {"code": None if status is None else os.waitstatus_to_exitcode(status)}


def _run(request: dict[str, Any]) -> NoReturn:
    os.setsid()
    os.chdir(request["folder"])
    os.environ.update(request["environment"])
    tempfile.tempdir = None  # found out anew
    null = os.open(os.devnull, os.O_RDONLY)
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    errors = os.open(request["errors"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for ours, standard in ((null, 0), (output, 1), (errors, 2)):
        os.dup2(ours, standard)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (request["memory"], request["memory"]))
    if request["hurry"]:
        _hurry()
    sys.path[0] = str(REPOSITORY)
    from tests.forks import become  # no sooner: the server starts without the repository's path

    become([str(REPOSITORY / request["script"]), *request["arguments"]])


def _hurry() -> None:
    """Ends searches and trainings soon, whatever their budgets: endurance is not tried here."""
    from pytorch_lightning.loops.fit_loop import _FitLoop
    from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop

    from ggl_lightning.attacks.searches.loop import SearchLoop

    run_round = SearchLoop._run_round

    def one_round(loop: SearchLoop) -> None:
        run_round(loop)
        if loop.round >= _ROUNDS:
            loop.request_stop("hurried")

    SearchLoop._run_round = one_round
    epoch_done, fit_done = _TrainingEpochLoop.done.fget, _FitLoop.done.fget
    _TrainingEpochLoop.done = property(
        lambda loop: epoch_done(loop) or loop.batch_progress.current.ready >= _BATCHES
    )
    _FitLoop.done = property(
        lambda loop: fit_done(loop) or loop.epoch_progress.current.completed >= 1
    )


def _warm_up() -> None:
    """Has everything imported, and kept from the garbage collector, that the forks will need."""
    import ggl_lightning  # noqa: F401, I001  (first: it repairs torchvision beside a CPU-only torch)

    import torch

    import audit
    import train_client
    import train_gan
    from ggl_lightning.cli import run_command

    torch.set_num_threads(1)
    for command, words in (
        (audit.main, ["--config", "configs/audit/demo.yaml"]),
        (train_client.main, ["fit", "--config", "configs/client/synthetic32.yaml"]),
        (train_gan.main, ["fit", "--config", "configs/gan/synthetic32.yaml"]),
    ):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
            run_command(command, [*words, "--print_config"])
    gc.freeze()


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    os.chdir(REPOSITORY)
    _warm_up()
    sys.exit(main())
