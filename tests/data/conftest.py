"""A tiny tree in CelebA's layout, with the spacing quirks of the published files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ggl_lightning.data.celeba_layout import ATTRIBUTES

WriteTree = Callable[..., Path]


def write_celeba_tree(root: Path, splits: tuple[int, int, int] = (12, 5, 6), seed: int = 0) -> Path:
    """Writes ``root/celeba`` with that many train, valid and test images; returns ``root``."""
    rng = np.random.default_rng(seed)
    count = sum(splits)
    names = [f"{i + 1:06d}.jpg" for i in range(count)]
    images = root / "celeba" / "img_align_celeba"
    images.mkdir(parents=True)
    for name in names:
        coarse = rng.integers(0, 256, (11, 9, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((178, 218), Image.Resampling.BICUBIC).save(images / name)

    def write(file_name: str, values: np.ndarray, header: str | None = None) -> None:
        lines = [f"{count}", header] if header else []
        lines += [
            f"{n} " + " ".join(f"{v:2d}" for v in row) for n, row in zip(names, values, strict=True)
        ]
        (root / "celeba" / file_name).write_text("\n".join(lines) + "\n")

    attributes = rng.choice([-1, 1], (count, 40))
    attributes[:2, 20] = [1, -1]  # both labels, always
    # The published header ends with a space.
    write("list_attr_celeba.txt", attributes, " ".join(ATTRIBUTES) + " ")
    write("list_eval_partition.txt", np.repeat(np.arange(3), splits)[:, None])
    write("identity_CelebA.txt", rng.integers(1, 10178, (count, 1)))
    write(
        "list_bbox_celeba.txt",
        rng.integers(0, 200, (count, 4)),
        "image_id x_1 y_1 width height",
    )
    points = [f"{p}_{a}" for p in ("lefteye", "righteye", "nose", "mouth", "jaw") for a in "xy"]
    write("list_landmarks_align_celeba.txt", rng.integers(0, 178, (count, 10)), " ".join(points))
    return root


@pytest.fixture
def write_tree(tmp_path: Path) -> WriteTree:
    """Writes a tree of the test's own, to be changed at will."""
    return lambda **options: write_celeba_tree(tmp_path / "root", **options)


@pytest.fixture(scope="session")
def celeba_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree shared by all tests: read only."""
    return write_celeba_tree(tmp_path_factory.mktemp("celeba"))
