"""Runs the real commands in a sandbox and tells what they print and leave behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVER = Path(__file__).with_name("server.py")
_MEMORY = 12 * 2**30


@dataclass(frozen=True)
class Ending:
    """How a command ended.

    Attributes:
        code: The exit code; negative for a signal, None if it took too long.
        output: What it printed.
        errors: What it printed as errors.
        left: Files and folders that appeared or changed, relative to the sandbox.
        sandbox: Where it ran.
    """

    code: int | None
    output: str
    errors: str
    left: frozenset[str]
    sandbox: Path

    @property
    def message(self) -> str:
        """The last thing on the screen that is called an error."""
        lines = self.errors.rstrip().splitlines()
        starts = [i for i, line in enumerate(lines) if line.startswith("error:")]
        return "\n".join(lines[starts[-1] :]) if starts else ""


class Runner:
    """Commands in forks of one process, each in a fresh sandbox: current, home and tmp folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._server: subprocess.Popen[str] | None = None

    def sandbox(self, files: dict[str, bytes]) -> Path:
        """A fresh sandbox.

        Args:
            files: What lies in the current folder, by relative path.
        """
        self._count += 1
        sandbox = self._folder / f"sandbox{self._count}"
        for name in ("here", "home", "tmp"):
            (sandbox / name).mkdir(parents=True)
        for name, content in files.items():
            path = sandbox / "here" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return sandbox

    def run(
        self, script: str, arguments: list[str], sandbox: Path, seconds: float = 300.0
    ) -> Ending:
        """Runs a command to its end.

        Args:
            script: ``audit.py``, say.
            arguments: Its arguments.
            sandbox: From `sandbox`; removed by `clear`.
            seconds: When to give up.
        """
        before = _tree(sandbox)
        output, errors = self._folder / "output.txt", self._folder / "errors.txt"
        answer = self._ask(
            {
                "script": script,
                "arguments": arguments,
                "folder": str(sandbox / "here"),
                "environment": {
                    "HOME": str(sandbox / "home"),
                    "TMPDIR": str(sandbox / "tmp"),
                    "XDG_CACHE_HOME": str(sandbox / "home/.cache"),
                    "COLUMNS": "100",
                },
                "output": str(output),
                "errors": str(errors),
                "memory": _MEMORY,
                "seconds": seconds,
                "hurry": True,
            }
        )
        after = _tree(sandbox)
        return Ending(
            code=answer["code"],
            output=output.read_text(encoding="utf-8", errors="replace"),
            errors=errors.read_text(encoding="utf-8", errors="replace"),
            left=frozenset(
                path for path in before.keys() | after.keys() if before.get(path) != after.get(path)
            ),
            sandbox=sandbox,
        )

    def clear(self, sandbox: Path) -> None:
        """Removes a sandbox."""
        shutil.rmtree(sandbox)

    def close(self) -> None:
        """Ends the process."""
        if self._server is not None:
            self._server.stdin.close()
            self._server.wait()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._server is None:
            self._server = subprocess.Popen(
                [sys.executable, str(SERVER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        print(json.dumps(request), file=self._server.stdin, flush=True)
        return json.loads(self._server.stdout.readline())


def _tree(folder: Path) -> dict[str, tuple[int, ...]]:
    """Everything below a folder, with what changes when it is written to."""
    found: dict[str, tuple[int, ...]] = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        is_folder = path.is_dir() and not path.is_symlink()
        found[str(path.relative_to(folder))] = (
            () if is_folder else (status.st_size, status.st_mtime_ns)
        )
    return found
