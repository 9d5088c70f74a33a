"""Writes a collection of synthetic faces as a CelebA tree, with as many processes as wanted."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ggl_lightning.atomic_file import replacing
from ggl_lightning.data.celeba_layout import BASE_FOLDER, IMAGE_FOLDER
from ggl_lightning.data.synthetic.attributes import FaceDescription
from ggl_lightning.data.synthetic.faces import draw_face
from ggl_lightning.data.synthetic.lists import image_name, write_lists
from ggl_lightning.errors import UserError
from ggl_lightning.user_paths import user_path

MARKER_FILE = "synthetic.json"
DRAWING_VERSION = 1
"""Changes whenever the same seed would give other pixels."""

_JPEG_QUALITY = 90
_CHUNK = 60
_RETAINED_BYTES = 24 << 20
# Below this, starting processes takes longer than drawing.
_WORTH_A_POOL = 2000


def write_synthetic_celeba(
    root: str | Path,
    count: int = 20000,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Draws ``count`` faces and writes them under ``root`` in CelebA's on-disk layout.

    The list files are written after the last image and the marker `MARKER_FILE` is completed
    last, so that an interrupted run is never taken for a whole collection; the same call
    again then draws it anew. If the same collection is already there, nothing is done.

    With more than one worker, processes are spawned: a script that calls this needs
    the usual ``if __name__ == "__main__":``.

    Args:
        root: Folder to hold ``celeba/``; made if missing. Other files in it are left alone.
        count: Number of images, 1 to 999,999.
        seed: Collection, from 0.
        workers: Processes that draw; 1 draws in this one. None: one per CPU core, or 1
            for a small collection.
        progress: Whether to show a progress bar.

    Returns:
        ``root`` as a path.

    Raises:
        UserError: If a number is out of range, ``root`` cannot be written to, or its ``celeba``
            folder already holds anything else.
    """
    _check_numbers(count, seed, workers)
    root = user_path("root", root)
    folder = root / BASE_FOLDER
    recipe = {"seed": seed, "count": count, "drawing": DRAWING_VERSION}
    if _already_there(folder, recipe):
        return root
    images = folder / IMAGE_FOLDER
    try:
        images.mkdir(parents=True, exist_ok=True)
        _write_marker(folder, recipe, complete=False)
    except OSError as error:
        raise UserError(
            f"root is {str(root)!r}: cannot write there ({error.strerror}). "
            "Give a folder that you may write to."
        ) from error

    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        workers = workers if count >= _WORTH_A_POOL else 1
    jobs = [
        (str(images), seed, start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)
    ]
    faces: list[FaceDescription] = []
    with tqdm(total=count, unit="face", disable=not progress) as bar:
        for chunk in _drawn(jobs, workers):
            faces += chunk
            bar.update(len(chunk))
    write_lists(folder, faces)
    _write_marker(folder, recipe, complete=True)
    return root


def _check_numbers(count: int, seed: int, workers: int | None) -> None:
    if not 1 <= count <= 999_999:
        raise UserError(f"count is {count}: it must be between 1 and 999999 images.")
    if seed < 0:
        raise UserError(f"seed is {seed}: it must be 0 or greater.")
    if workers is not None and workers < 1:
        raise UserError(f"workers is {workers}: it must be at least 1.")


def _already_there(folder: Path, recipe: dict[str, int]) -> bool:
    """Whether ``folder`` holds exactly this collection; raises if it holds anything else."""
    try:
        occupied = folder.exists() and any(folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({error.strerror}).") from error
    if not occupied:
        return False
    try:
        found = json.loads((folder / MARKER_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or "complete" not in found:
        raise UserError(
            f"{folder} is not empty and is not a collection of synthetic faces: "
            "nothing was written. Give another root, or move the folder away."
        )
    complete = found.pop("complete")
    if found != recipe:
        raise UserError(
            f"{folder} already holds other synthetic faces ({found}, wanted {recipe}): "
            "nothing was written. Give another root, or delete the folder."
        )
    return complete is True


def _write_marker(folder: Path, recipe: dict[str, int], complete: bool) -> None:
    text = json.dumps({**recipe, "complete": complete}, indent=2) + "\n"
    with replacing(folder / MARKER_FILE) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def _drawn(jobs: list[tuple[str, int, int, int]], workers: int) -> Iterator[list[FaceDescription]]:
    """Descriptions of the drawn faces, chunk by chunk in file order."""
    workers = min(workers, len(jobs))
    if workers == 1:
        yield from map(_draw_chunk, jobs)
        return
    # Spawned, because a fork of a process that runs torch's threads can hang.
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(_draw_chunk, jobs)


def _draw_chunk(job: tuple[str, int, int, int]) -> list[FaceDescription]:
    folder, seed, start, stop = job
    # Freeing one large block tells glibc to keep freed memory of up to that size; otherwise
    # every temporary array of a drawing is paged in anew, a quarter of the time. (The block's own
    # pages are never touched.)
    np.empty(_RETAINED_BYTES, dtype=np.uint8)
    faces = []
    for index in range(start, stop):
        pixels, face = draw_face(seed, index)
        path = os.path.join(folder, image_name(index))  # noqa: PTH118 (this loop is hot)
        Image.fromarray(pixels).save(path, format="JPEG", quality=_JPEG_QUALITY)
        faces.append(face)
    return faces
