"""What all command lines share: their runner, the data, and files that are none of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.data.conftest import write_celeba_tree
from tests.fuzz.runner import Runner


@pytest.fixture(scope="session")
def runner(tmp_path_factory) -> Iterator[Runner]:
    runner = Runner(tmp_path_factory.mktemp("commands"))
    yield runner
    runner.close()


@pytest.fixture(scope="session")
def faces(tmp_path_factory) -> Path:
    """Root of a tiny CelebA."""
    return write_celeba_tree(tmp_path_factory.mktemp("faces"), (12, 5, 8))  # 8: a client's batch


@pytest.fixture(scope="session")
def things(tmp_path_factory) -> Path:
    """A folder of things that a path may lead to by mistake."""
    folder = tmp_path_factory.mktemp("things")
    (folder / "folder").mkdir()
    (folder / "notes.txt").write_text("some notes\n")
    (folder / "empty.pt").touch()
    (folder / "settings.yaml").write_text("model: {width: 8}\n")
    torch.save({"weight": torch.zeros(3)}, folder / "weights.pt")
    torch.save([1, 2], folder / "list.ckpt")
    return folder
