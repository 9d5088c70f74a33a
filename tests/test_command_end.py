"""How a command ends: what it prints anywhere, and Ctrl-C while it loads."""

import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ggl_lightning.cli import run_command

_SCRIPTS = Path(__file__).parents[1]


def test_a_terminal_without_the_characters_does_not_stop_a_command(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    assert run_command(lambda _: print("Gr\N{LATIN SMALL LETTER O WITH DIAERESIS}\udcdfe"), []) == 0
    stream.flush()
    assert stream.buffer.getvalue() == b"Gr\\xf6\\udcdfe\n"


def _installed(function: str) -> list[str]:
    return ["-c", f"import sys, ggl_commands; sys.exit(ggl_commands.{function}())"]


@pytest.mark.parametrize(
    "command",
    [
        *[[str(_SCRIPTS / name)] for name in ("audit.py", "train_gan.py", "train_client.py")],
        *[_installed(name) for name in ("audit", "train_gan", "train_client", "faces")],
    ],
    ids=lambda command: command[-1],
)
def test_ctrl_c_while_modules_load_ends_quietly(command, tmp_path):
    """A module that stands in for PyTorch waits until it is interrupted."""
    (tmp_path / "torch.py").write_text(
        "import time\nprint('loading', flush=True)\ntime.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{_SCRIPTS}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    assert process.stdout is not None
    assert process.stdout.readline() == "loading\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    watchdog.cancel()
    assert (process.returncode, errors) == (130, "")
