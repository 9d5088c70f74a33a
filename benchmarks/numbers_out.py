"""How a benchmark's numbers are handed over."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any


def hand_over(numbers: Mapping[str, object], file: Path | None) -> None:
    """Prints numbers by name, and writes them as JSON if there is a file to write to."""
    for name, value in numbers.items():
        print(f"{name}: {value}")
    if file:
        file.write_text(json.dumps(numbers, indent=2) + "\n")


class KeptLines:
    """Lines of a table that is written anew after each; those that it holds are not run again.

    Args:
        file: Where it is kept; nowhere if None.
        settings: What all lines depend on.
        hidden: What of a line is kept and not printed.

    Attributes:
        table: The lines by name, and ``settings``.

    Raises:
        SystemExit: If the file holds lines of other settings.
    """

    def __init__(
        self, file: Path | None, settings: Mapping[str, object], hidden: Collection[str] = ()
    ) -> None:
        self._file = file
        self._hidden = hidden
        self.table: dict[str, Any] = {"settings": settings}
        if file and file.is_file():
            self.table = json.loads(file.read_text())
            if self.table["settings"] != settings:
                raise SystemExit(f"{file} holds lines of {self.table['settings']}: name another.")

    def measure(self, name: str, make: Callable[[], Mapping[str, object]]) -> None:
        """Makes a line, prints and keeps it, unless there is one of that name."""
        if name in self.table:
            return
        self.table[name] = line = make()
        print(name, {k: v for k, v in line.items() if k not in self._hidden}, flush=True)
        if self._file:
            self._file.write_text(json.dumps(self.table, indent=1) + "\n")
