"""The cache gives the very same images, is never stale, and never half written."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ggl_lightning.data import celeba, pixel_cache
from ggl_lightning.data.celeba import CelebADataModule
from ggl_lightning.data.celeba_layout import SPLITS
from ggl_lightning.data.pixel_cache import CachedFaces, build_pixel_cache, fingerprint
from ggl_lightning.errors import UserError


def first_image(root: Path) -> Path:
    return root / "celeba" / "img_align_celeba" / "000001.jpg"


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("size", [32, 64])
def test_exactly_the_images_and_labels_of_the_jpegs(celeba_root, cache_dir, split, size):
    options = {"image_size": size, "target_attribute": "Young"}
    cached = CelebADataModule(celeba_root, cache_dir=cache_dir, **options).dataset(split)
    plain = CelebADataModule(celeba_root, **options).dataset(split)
    assert isinstance(cached, CachedFaces)
    assert len(cached) == len(plain)
    for (image, label), (expected, expected_label) in zip(cached, plain, strict=True):
        assert image.dtype == torch.float32
        assert image.equal(expected)
        assert label.equal(expected_label)


@settings(max_examples=20)
@given(indices=st.lists(st.integers(-12, 11), min_size=1, max_size=30))
def test_a_batch_is_its_items(celeba_root, cache_dir, indices):
    faces = CelebADataModule(celeba_root, cache_dir=cache_dir).dataset("train")
    batch = faces.__getitems__(indices)
    assert len(batch) == len(indices)
    for (image, label), index in zip(batch, indices, strict=True):
        assert image.equal(faces[index][0])
        assert label.equal(faces[index][1])


def test_items_can_be_written_to_without_harm(celeba_root, cache_dir):
    faces = CelebADataModule(celeba_root, cache_dir=cache_dir).dataset("train")
    before = faces[0][0].clone()
    faces[0][0].zero_()
    faces.__getitems__([0])[0][0].zero_()
    assert faces[0][0].equal(before)


def test_is_built_once_and_serves_every_attribute(celeba_root, tmp_path, monkeypatch):
    male = CelebADataModule(celeba_root, cache_dir=tmp_path).dataset("train")

    def fail(*args: object) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(celeba, "build_pixel_cache", fail)
    young = CelebADataModule(celeba_root, cache_dir=tmp_path, target_attribute=39).dataset("train")
    assert young.path == male.path
    assert not young.labels.equal(male.labels)


def test_a_changed_image_is_served_as_it_is_now(write_tree, tmp_path):
    root = write_tree()
    old = CelebADataModule(root, cache_dir=tmp_path).dataset("train")[0][0]
    path = first_image(root)
    size = path.stat().st_size
    Image.new("RGB", (178, 218), "red").save(path)
    # Not even the size tells that it changed.
    path.write_bytes(path.read_bytes().ljust(size, b"\0"))
    assert path.stat().st_size == size
    new = CelebADataModule(root, cache_dir=tmp_path).dataset("train")[0][0]
    assert not new.equal(old)
    assert new.equal(CelebADataModule(root).dataset("train")[0][0])


def test_the_fingerprint_covers_all_that_decides_the_pixels(write_tree, monkeypatch):
    folder = first_image(write_tree()).parent
    names = ["000001.jpg", "000002.jpg"]
    seen = [fingerprint(folder, names, 32)]
    assert fingerprint(folder, names, 32) == seen[0]
    seen.append(fingerprint(folder, names, 64))
    seen.append(fingerprint(folder, names[::-1], 32))
    seen.append(fingerprint(folder, names[:1], 32))
    monkeypatch.setattr(pixel_cache, "TRANSFORM_VERSION", 99)
    seen.append(fingerprint(folder, names, 32))
    stat = (folder / names[0]).stat()
    os.utime(folder / names[0], ns=(stat.st_atime_ns, stat.st_mtime_ns + 1000))
    seen.append(fingerprint(folder, names, 32))
    with (folder / names[0]).open("ab") as file:
        file.write(b"x")
    os.utime(folder / names[0], ns=(stat.st_atime_ns, stat.st_mtime_ns + 1000))
    seen.append(fingerprint(folder, names, 32))
    assert len(set(seen)) == len(seen)
    # A file of another split does not matter.
    (folder / "000003.jpg").unlink()
    assert fingerprint(folder, names, 32) == seen[-1]


def test_an_image_that_disappears_is_named(write_tree, tmp_path):
    root = write_tree()
    module = CelebADataModule(root, cache_dir=tmp_path)
    module.prepare_data()
    first_image(root).unlink()
    with pytest.raises(UserError, match=r"000001\.jpg disappeared"):
        module.setup()


def test_a_corrupt_image_is_named_and_leaves_nothing_behind(write_tree, tmp_path):
    root = write_tree()
    first_image(root).write_bytes(b"no image")
    module = CelebADataModule(root, cache_dir=tmp_path / "cache")
    with pytest.raises(UserError) as caught:
        module.setup("fit")
    assert str(first_image(root)) in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_folder_that_cannot_be_written_to(celeba_root, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write the cache .*Not a directory"):
        CelebADataModule(celeba_root, cache_dir=tmp_path / "file" / "cache").setup("fit")


def test_a_disk_that_fills_up_leaves_nothing_behind(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"cannot write the cache .*too large"):
            build_pixel_cache(tmp_path / "c.npy", lambda i: torch.zeros(3, 32, 32).byte(), 9, 32)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no array", None])
def test_a_damaged_cache_is_refused_not_used(celeba_root, tmp_path, content):
    path = CelebADataModule(celeba_root, cache_dir=tmp_path).dataset("valid").path
    path.write_bytes(path.read_bytes()[:-1] if content is None else content)
    with pytest.raises(UserError, match="Delete it, to have it built again"):
        CelebADataModule(celeba_root, cache_dir=tmp_path).dataset("valid")


def test_a_cache_of_another_count_is_refused(tmp_path):
    np.save(tmp_path / "c.npy", np.zeros((4, 3, 8, 8), np.uint8))
    with pytest.raises(UserError, match=r"\(4, 3, 8, 8\) instead of 5 images"):
        CachedFaces(tmp_path / "c.npy", torch.zeros(5, dtype=torch.int64))


def test_a_count_beyond_one_chunk_keeps_its_order(tmp_path, monkeypatch):
    monkeypatch.setattr(pixel_cache, "_CHUNK", 7)
    path = tmp_path / "new" / "c.npy"
    build_pixel_cache(path, lambda i: torch.full((3, 8, 8), i, dtype=torch.uint8), 40, 8)
    assert np.array_equal(np.load(path)[:, 0, 0, 0], np.arange(40))


def test_pickling_maps_the_file_again_instead_of_copying_it(tmp_path):
    np.save(tmp_path / "c.npy", np.arange(100 * 192, dtype=np.uint8).reshape(100, 3, 8, 8))
    faces = CachedFaces(tmp_path / "c.npy", torch.arange(100))
    data = pickle.dumps(faces)
    assert len(data) < 3000
    again = pickle.loads(data)
    assert again[42][0].equal(faces[42][0])
    assert again[42][1].equal(faces[42][1])


def _open_train(root: Path, cache_dir: Path, barrier, sums) -> None:
    barrier.wait()
    faces = CelebADataModule(root, cache_dir=cache_dir).dataset("train")
    sums.put(sum(float(image.double().sum()) for image, _ in faces))


def test_several_processes_may_build_at_once(celeba_root, tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, sums = context.Barrier(3), context.Queue()
    processes = [
        context.Process(target=_open_train, args=(celeba_root, tmp_path, barrier, sums))
        for _ in range(3)
    ]
    for process in processes:
        process.start()
    results = [sums.get(timeout=900) for _ in processes]
    for process in processes:
        process.join()
    plain = CelebADataModule(celeba_root).dataset("train")
    assert results == [sum(float(image.double().sum()) for image, _ in plain)] * 3
    assert len(list(tmp_path.iterdir())) == 1
