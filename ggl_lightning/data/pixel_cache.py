"""Decoded images kept on disk, so that an epoch does not decode every JPEG again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL
import torch
from PIL import features
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from ggl_lightning.atomic_file import replacing
from ggl_lightning.data.image_transform import TRANSFORM_VERSION, to_signed_range
from ggl_lightning.errors import UserError

_CHUNK = 1024  # images decoded before they are written: 12 MB at 64 px


def fingerprint(image_folder: Path, names: Sequence[str], image_size: int) -> str:
    """Identifies the pixels a cache must hold, without opening an image.

    It covers the names, sizes and modification times of the files, in order, the image size, our
    transform's version, and the versions of the decoder (they decide the last bit of a pixel).

    Args:
        image_folder: Where the files are.
        names: The file names, in the order of the cache's rows.
        image_size: Height and width after the transform, in pixels.

    Returns:
        A hexadecimal digest.

    Raises:
        UserError: If one of the files is gone.
    """
    digest = hashlib.sha256()
    digest.update(f"{TRANSFORM_VERSION} {image_size} {PIL.__version__} ".encode())
    digest.update(f"{features.version('libjpeg_turbo')} {features.version('jpg')}\n".encode())
    wanted = set(names)
    stats: dict[str, os.stat_result] = {}
    try:
        with os.scandir(image_folder) as entries:
            for entry in entries:
                if entry.name in wanted:
                    stats[entry.name] = entry.stat()
    except OSError as error:
        raise UserError(f"cannot list the images in {image_folder}: {error.strerror}.") from error
    for name in names:
        if name not in stats:
            raise UserError(f"the image {image_folder / name} disappeared while it was in use.")
        digest.update(f"{name} {stats[name].st_size} {stats[name].st_mtime_ns}\n".encode())
    return digest.hexdigest()


def build_pixel_cache(
    path: Path, read: Callable[[int], Tensor], count: int, image_size: int
) -> None:
    """Writes ``count`` decoded images to ``path``, which appears only when it is complete.

    Several processes may build the same cache at once: each writes a file of its own, and the
    last to finish replaces the others' equal result.

    Args:
        path: The ``.npy`` file to write: uint8 ``(count, 3, image_size, image_size)``.
        read: Returns image ``i`` as a uint8 tensor ``(3, image_size, image_size)``; called from
            several threads (PIL decodes outside the interpreter lock).
        count: How many images.
        image_size: Height and width, in pixels.

    Raises:
        UserError: If the folder cannot be written to or its disk is full, or if ``read`` raises it.
    """
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)),
        "fortran_order": False,
        "shape": (count, 3, image_size, image_size),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            replacing(path) as unfinished,
            unfinished.open("xb") as file,
            ThreadPoolExecutor() as pool,
            tqdm(total=count, desc=f"caching {path.stem}", unit="img", disable=None) as progress,
        ):
            # Plain writes and not a memory map: a full disk raises here, a map would be killed.
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, count, _CHUNK):
                images = list(pool.map(read, range(start, min(start + _CHUNK, count))))
                file.write(torch.stack(images).numpy().tobytes())
                progress.update(len(images))
    except OSError as error:
        raise UserError(
            f"cannot write the cache {path}: {error.strerror}. "
            "Give another cache_dir, or none to decode every image anew."
        ) from error


class CachedFaces(Dataset[tuple[Tensor, Tensor]]):
    """Images from a cache, memory-mapped: pages are shared by all processes of a machine.

    Item ``i`` is ``(image, label)``: float32 ``(3, S, S)`` in ``[-1, 1]``, and an int64 scalar.

    Args:
        path: A file that `build_pixel_cache` wrote: uint8 ``(N, 3, S, S)``.
        labels: int64 ``(N,)``.

    Raises:
        UserError: If the file cannot be read, or does not hold ``N`` images.
    """

    def __init__(self, path: Path, labels: Tensor) -> None:
        self.path = path
        self.labels = labels
        self._pixels = self._open()

    def _open(self) -> npt.NDArray[np.uint8]:
        try:
            pixels = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, EOFError, ValueError) as error:
            raise UserError(
                f"cannot read the cache {self.path}: {error}. Delete it, to have it built again."
            ) from error
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or len(pixels) != len(self.labels):
            raise UserError(
                f"the cache {self.path} holds {pixels.dtype} {pixels.shape} instead of "
                f"{len(self.labels)} images. Delete it, to have it built again."
            )
        return np.asarray(pixels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return to_signed_range(torch.from_numpy(self._pixels[index].copy())), self.labels[index]

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, Tensor]]:
        """Fetches a DataLoader's batch at once: one gather, one conversion."""
        images = to_signed_range(torch.from_numpy(self._pixels[indices]))
        return list(zip(images.unbind(), self.labels[indices].unbind(), strict=True))

    def __getstate__(self) -> dict[str, Any]:
        # A spawned worker must map the file again: pickling the map would copy all of it.
        return {"path": self.path, "labels": self.labels}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path, self.labels = state["path"], state["labels"]
        self._pixels = self._open()
