"""A tiny tree in ImageNet's layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

WNIDS = ("n01440764", "n01443537", "n02084071")


def write_class_folders(
    root: Path,
    per_class: tuple[int, ...] = (2, 1, 3),
    splits: tuple[str, ...] = ("train", "val"),
    size: tuple[int, int] = (40, 30),
    seed: int = 0,
) -> Path:
    """Writes ``root/<split>/<wnid>/*.JPEG``, smooth random images; returns ``root``.

    There are as many classes as ``per_class`` has entries; the first ones are named by ``WNIDS``.
    """
    rng = np.random.default_rng(seed)
    for split in splits:
        for position, count in enumerate(per_class):
            wnid = WNIDS[position] if position < len(WNIDS) else f"n1{position:07d}"
            folder = root / split / wnid
            folder.mkdir(parents=True)
            for i in range(count):
                coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
                image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
                image.save(folder / f"{wnid}_{i}.JPEG")
    return root
