"""Files that take the old one's place in one step."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ggl_lightning.atomic_file import replacing


def write_chunks(path: Path, chunks: Iterable[bytes]) -> None:
    """Replaces a file's content: readers see the old one or the new, never half.

    Args:
        path: The file.
        chunks: Its new content, piece by piece: all of it need not fit into memory.
    """
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        file.writelines(chunks)
        file.flush()
        os.fsync(file.fileno())
