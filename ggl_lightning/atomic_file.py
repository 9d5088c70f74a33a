"""Files that appear when they are complete, or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_SUFFIX = ".tmp"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a file beside ``path`` to write; on success it takes ``path``'s place in one step.

    Readers see the old file or the new one, never half of it. If the block raises, the old file
    stays and nothing else is left behind. Several processes may write the same path at once.

    Args:
        path: The file to write; its folder must exist.
    """
    unfinished = path.with_name(f".{path.name}-{uuid.uuid4().hex}{_SUFFIX}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_chunks(path: Path, chunks: Iterable[bytes]) -> None:
    """Replaces a file's content in one step, once it has reached the disk.

    Args:
        path: The file; its folder must exist.
        chunks: Its new content, piece by piece: all of it need not fit into memory.
    """
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        file.writelines(chunks)
        file.flush()
        os.fsync(file.fileno())


def remove_unfinished(folder: Path) -> None:
    """Removes what killed processes left half-written in a folder.

    Args:
        folder: A folder in which nobody else is writing.
    """
    for unfinished in folder.glob(f".*-{'[0-9a-f]' * 32}{_SUFFIX}"):
        unfinished.unlink(missing_ok=True)
