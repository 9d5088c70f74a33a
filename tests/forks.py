"""Processes of their own, without the seconds in which each would import everything.

A server imports it once; every process is forked from it, and shares nothing with the others.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
import threading
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import NoReturn

REPOSITORY = Path(__file__).parents[1]
PATIENCE = 900  # seconds until a process that does not end is taken for stuck


def context() -> ForkServerContext:
    """`multiprocessing` with processes that are forked from the server."""
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["tests.warm"])
    return forks


class Command:
    """One of the scripts, in a session of its own.

    What it starts itself, such as the second process of two, is started as ever.

    Args:
        script: ``audit.py``, say.
        arguments: Its arguments.
        folder: Where it runs.
    """

    def __init__(self, script: str, *arguments: str, folder: Path = REPOSITORY) -> None:
        self._output, self._errors = (_empty_file(name) for name in ("output", "errors"))
        environment = {
            **os.environ,
            **{"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        }
        words = [str(REPOSITORY / script), *arguments]
        self._process = context().Process(
            target=_run, args=(words, str(folder), environment, self._output, self._errors)
        )
        self._process.start()

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def send_signal(self, how: signal.Signals, to_all: bool = False) -> None:
        """Sends a signal to the first process, or to the whole session as a terminal does."""
        (os.killpg if to_all else os.kill)(self._process.pid, how)

    def end(self, seconds: float = PATIENCE) -> tuple[int, str, str]:
        """Waits for the end; that it does not come is a failure.

        Returns:
            The exit code, what was printed, and what was printed as errors.
        """
        self._process.join(seconds)
        code = self.poll()
        self.kill()
        printed = [Path(path).read_text(encoding="utf-8") for path in (self._output, self._errors)]
        for path in (self._output, self._errors):
            Path(path).unlink()
        assert code is not None, "\n".join(["the command does not end:", *printed])
        return code, *printed

    def kill(self) -> None:
        """Ends whatever of the session is left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()


def _empty_file(name: str) -> str:
    handle, path = tempfile.mkstemp(prefix=name)
    os.close(handle)
    return path


def _run(
    words: list[str], folder: str, environment: dict[str, str], output: str, errors: str
) -> NoReturn:
    """Runs a script as an interpreter of its own would."""
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for path, standard in ((os.devnull, 0), (output, 1), (errors, 2)):
        opened = os.open(path, os.O_RDWR)
        os.dup2(opened, standard)
        os.close(opened)
    sys.path.insert(0, str(REPOSITORY))
    become(words)


def become(words: list[str]) -> NoReturn:
    """Runs a script in this fork as an interpreter of its own would, to the process's end.

    Args:
        words: The script's path and its arguments.
    """
    sys.argv = words
    code = _exit_code(words[0])
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # tidying up the memory of a fork would copy all of it


def _exit_code(script: str) -> int:
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:  # noqa: BLE001  (what the interpreter does with it)
        sys.excepthook(*sys.exc_info())
        return 1
    return 0
