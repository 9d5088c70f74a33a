"""Files that take the old one's place in one step."""

from __future__ import annotations

import os
from pathlib import Path

from ggl_lightning.atomic_file import replacing


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces a file's content: readers see the old one or the new, never half."""
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
