"""The documented commands with two processes: to the end, resumed, and stopped from outside."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tests.forks import PATIENCE, Command
from tests.training.configurations import write_config

DDP = ["--trainer.devices=2", "--trainer.strategy=ddp"]


def start(kind: str, config: Path, *arguments: str) -> Command:
    script = {"gan": "train_gan.py", "client": "train_client.py"}[kind]
    return Command(script, "fit", f"--config={config}", *DDP, *arguments, folder=config.parent)


def end(command: Command, seconds: float = PATIENCE) -> tuple[int, str]:
    """The exit code and what was printed; a hang ends as a failure."""
    code, output, errors = command.end(seconds)
    return code, errors + output


def wait_for(condition: Callable[[], object], command: Command) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if command.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(end(command, seconds=0)[1])
        time.sleep(0.05)


def test_a_prior_stopped_by_ctrl_c_goes_on_to_the_end(tmp_path):
    config = write_config("gan", tmp_path)
    process = start("gan", config, "--trainer.max_epochs=100000")
    first = tmp_path / "runs/version_0"
    # Pictures of one rank, in the midst of training.
    wait_for(lambda: len(list(first.glob("samples/*.png"))) > 1, process)
    process.send_signal(signal.SIGINT, to_all=True)
    code, output = end(process)
    assert code == 130, output
    last = first / "checkpoints/last.ckpt"
    assert output.count("Interrupted.") == 1
    assert output.rstrip().endswith(f"--ckpt_path {last.relative_to(tmp_path)}")
    assert "Traceback" not in output
    cut = torch.load(last, weights_only=True)

    epochs = cut["epoch"] + 2
    code, output = end(start("gan", config, "--ckpt_path=last", f"--trainer.max_epochs={epochs}"))
    assert code == 0, output
    done = torch.load(tmp_path / "runs/version_1/checkpoints/last.ckpt", weights_only=True)
    assert done["batches_seen"] == epochs * 3  # 24 images on 2 devices in batches of 4
    assert list(tmp_path.glob("runs/version_1/samples/*.png"))


def test_a_client_model_stopped_by_sigterm_goes_on_to_the_end(tmp_path):
    config = write_config("client", tmp_path)
    process = start("client", config, "--trainer.max_epochs=100000")
    last = tmp_path / "runs/version_0/checkpoints/last.ckpt"
    wait_for(last.exists, process)
    process.send_signal(signal.SIGTERM)  # the first process alone, as schedulers do
    code, output = end(process)
    assert code == 143, output
    assert output.count("Interrupted.") == 1
    cut = torch.load(last, weights_only=True)

    epochs = cut["epoch"] + 2
    command = ["--ckpt_path=last", f"--trainer.max_epochs={epochs}"]
    code, output = end(start("client", config, *command))
    assert code == 0, output
    done = torch.load(tmp_path / "runs/version_1/checkpoints/last.ckpt", weights_only=True)
    assert done["global_step"] == epochs * 3


def test_a_mistake_that_only_one_process_meets_ends_both(tmp_path):
    config = write_config("client", tmp_path)
    code, output = end(start("client", config, "--data.init_args.unreadable_on_rank=1"))
    assert code == 2, output
    assert output.count("error: the image cannot be read") == 1
