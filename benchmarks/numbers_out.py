"""How a benchmark's numbers are handed over."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path


def hand_over(numbers: Mapping[str, object], file: Path | None) -> None:
    """Prints numbers by name, and writes them as JSON if there is a file to write to."""
    for name, value in numbers.items():
        print(f"{name}: {value}")
    if file:
        file.write_text(json.dumps(numbers, indent=2) + "\n")
