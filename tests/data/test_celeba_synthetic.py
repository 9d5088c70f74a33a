"""The stand-in passes for CelebA: the same check and the same reader, nothing special-cased."""

from __future__ import annotations

import pytest
from torchvision.datasets import CelebA

from ggl_lightning.data.celeba import CelebADataModule
from ggl_lightning.data.celeba_layout import SPLITS, check_celeba_root
from ggl_lightning.data.synthetic.writer import write_synthetic_celeba


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    write_synthetic_celeba(folder, 40, 0, 1, False)
    return folder


def test_the_stand_in_is_a_complete_celeba(root):
    assert len(check_celeba_root(root).names) == 40


@pytest.mark.parametrize("split", SPLITS)
def test_both_readers_see_the_same_faces(root, split, monkeypatch):
    monkeypatch.setattr(CelebA, "_check_integrity", lambda self: True)
    reference = CelebA(root, split)
    faces = CelebADataModule(root, image_size=64).dataset(split)
    assert len(faces) == len(reference) > 0
    for i in range(len(reference)):
        image, label = faces[i]
        assert image.shape == (3, 64, 64)
        assert -1 <= image.min() < image.max() <= 1
        assert label == reference.attr[i, 20]
