"""ImageNet's images, labels and splits, and what is said of trees that are not ImageNet's."""

from __future__ import annotations

import shutil
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder, ImageNet

from ggl_lightning.data.image_errors import UnreadableImageError
from ggl_lightning.data.imagenet import ImageNetDataModule
from ggl_lightning.errors import UserError
from tests.data.class_folders import WNIDS, write_class_folders


@pytest.fixture(scope="module")
def imagenet_root(tmp_path_factory) -> Path:
    """Shared by all tests: read only."""
    return write_class_folders(tmp_path_factory.mktemp("imagenet"))


def open_tree(root: Path, **settings) -> ImageNetDataModule:
    return ImageNetDataModule(root, **{"image_size": 16, "num_classes": 3, **settings})


def message_of(root: Path, split: str = "test", **settings) -> str:
    with pytest.raises(UserError) as caught:
        open_tree(root, **settings).dataset(split)
    return str(caught.value)


def reference_image(path: Path, size: int) -> np.ndarray:
    """Resize of the shorter side and centre crop by PIL alone; normalised in float64."""
    image = Image.open(path)
    width, height = image.size
    scale = size / min(width, height)
    resized = image.resize((int(width * scale), int(height * scale)), Image.Resampling.BILINEAR)
    left, top = round((resized.width - size) / 2), round((resized.height - size) / 2)
    pixels = np.asarray(resized.crop((left, top, left + size, top + size)))
    return (pixels / 127.5 - 1).transpose(2, 0, 1)


@pytest.mark.parametrize("size", [8, 16, 48, 224])
@pytest.mark.parametrize("shape", [(40, 30), (30, 40)])
def test_images_are_resized_cropped_and_in_minus_one_to_one(tmp_path, size, shape):
    root = write_class_folders(tmp_path, size=shape)
    image, label = open_tree(root, image_size=size).dataset("test")[3]
    expected = reference_image(root / "val" / WNIDS[2] / f"{WNIDS[2]}_0.JPEG", size)
    assert image.shape == (3, size, size)
    assert image.dtype == torch.float32
    assert label == 2
    np.testing.assert_allclose(image.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("split", "folder"), [("train", "train"), ("valid", "val"), ("test", "val")]
)
def test_labels_and_order_are_torchvisions(imagenet_root, split, folder):
    ours = open_tree(imagenet_root).dataset(split)
    reference = ImageFolder(imagenet_root / folder)
    assert ours.samples == reference.samples
    assert [label for _, label in ours] == [0, 0, 1, 2, 2, 2]
    assert ours.classes == list(WNIDS)


def test_it_reads_what_torchvisions_imagenet_reads(tmp_path):
    root = write_class_folders(tmp_path)
    meta = ({wnid: (wnid,) for wnid in WNIDS}, ["n01440764_0"])
    torch.save(meta, root / "meta.bin")
    reference = ImageNet(root, "val")
    assert open_tree(root).dataset("valid").samples == reference.samples
    (root / "meta.bin").unlink()
    assert open_tree(root).dataset("valid").samples == reference.samples


def test_a_thousand_folders_keep_their_indices_even_if_most_are_empty(tmp_path):
    counts = [0] * 1000
    counts[7], counts[999] = 1, 2
    root = write_class_folders(tmp_path, per_class=tuple(counts), splits=("val",))
    images = ImageNetDataModule(root, image_size=8).dataset("test")
    assert [label for _, label in images] == [7, 999, 999]


def test_a_partial_copy_would_shift_labels_and_is_refused(imagenet_root):
    message = message_of(imagenet_root, num_classes=1000)
    assert "val has 3 class folders, but num_classes is 1000" in message
    assert "keep all folders, empty ones too" in message
    assert len(open_tree(imagenet_root, num_classes=None).dataset("test")) == 6


def test_loaders_shuffle_training_only(imagenet_root):
    module = open_tree(imagenet_root, batch_size=4)
    module.setup()
    batches = {
        name: list(getattr(module, f"{name}_dataloader")()) for name in ("train", "val", "test")
    }
    assert {name: [len(y) for _, y in b] for name, b in batches.items()} == {
        "train": [4],
        "val": [4, 2],
        "test": [4, 2],
    }
    labels = torch.cat([y for _, y in batches["test"]])
    assert labels.dtype == torch.int64
    assert labels.tolist() == [0, 0, 1, 2, 2, 2]
    torch.manual_seed(1)
    _, labels = next(iter(open_tree(imagenet_root, batch_size=6).train_dataloader()))
    assert labels.tolist() != [0, 0, 1, 2, 2, 2]
    assert sorted(labels.tolist()) == [0, 0, 1, 2, 2, 2]
    with pytest.raises(UserError, match="has only 6 images: lower batch_size"):
        open_tree(imagenet_root, batch_size=7).train_dataloader()
    everything = open_tree(imagenet_root, batch_size=7, drop_last=False).train_dataloader()
    assert len(everything) == 1


def test_worker_options_reach_the_loader(imagenet_root):
    loader = open_tree(imagenet_root, num_workers=2, pin_memory=True).val_dataloader()
    assert (loader.num_workers, loader.pin_memory, loader.persistent_workers) == (2, True, True)
    assert not open_tree(imagenet_root).val_dataloader().persistent_workers


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 7}, "image_size is 7: it must be at least 8"),
        ({"num_classes": 0}, "num_classes is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"num_workers": -1}, "num_workers is -1"),
    ],
)
def test_bad_settings_are_refused_before_any_file_is_touched(tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        ImageNetDataModule(tmp_path / "nowhere", **settings)


def test_unknown_split_suggests_the_nearest(imagenet_root):
    with pytest.raises(UserError, match="Did you mean 'valid'"):
        open_tree(imagenet_root).dataset("val")


@pytest.mark.parametrize("call", ["setup", "train_dataloader", "test_dataloader"])
def test_an_absent_root_says_where_imagenet_comes_from(tmp_path, call):
    with pytest.raises(UserError) as caught:
        getattr(open_tree(tmp_path / "nowhere"), call)()
    message = str(caught.value)
    assert f"the folder {tmp_path / 'nowhere'} does not exist" in message
    assert "https://www.image-net.org/download.php" in message
    assert "nothing is downloaded" in message


def test_only_the_split_that_is_read_must_be_there(tmp_path):
    root = write_class_folders(tmp_path, splits=("val",))
    open_tree(root).setup("test")
    message = message_of(root, "train")
    assert f"the folder train is missing ({root} holds val)" in message


def test_says_what_it_found_instead(tmp_path):
    (tmp_path / "ILSVRC2012_img_val.tar").touch()
    assert "ILSVRC2012_img_val.tar is there: extract it" in message_of(tmp_path)
    (tmp_path / "val").mkdir()
    assert "val holds no class folders" in message_of(tmp_path)
    for number in (2, 1):
        (tmp_path / "val" / f"ILSVRC2012_val_{number:08d}.JPEG").touch()
    message = message_of(tmp_path)
    assert "e.g. ILSVRC2012_val_00000001.JPEG, that are not sorted into class folders" in message


def test_folders_that_differ_between_splits_are_named(tmp_path):
    root = write_class_folders(tmp_path)
    (root / "train" / WNIDS[1]).rename(root / "train" / "n09999999")
    message = message_of(root)
    assert f"1 are only in val: {WNIDS[1]}" in message
    assert "1 are only in train: n09999999" in message


def test_what_systems_leave_beside_the_data_is_no_class_and_no_image(tmp_path):
    root = write_class_folders(tmp_path)
    clean = ImageFolder(root / "val")
    left = root / "val" / WNIDS[1]
    for name in (".ipynb_checkpoints", "@eaDir", "__MACOSX", "$RECYCLE.BIN"):
        for folder in (root / "val" / name, root / "train" / name, left / name):
            folder.mkdir()
            shutil.copy(root / "val" / WNIDS[0] / f"{WNIDS[0]}_0.JPEG", folder)
    (left / f"._{WNIDS[1]}_0.JPEG").write_bytes(b"a resource fork")
    (left / "Thumbs.db").write_bytes(b"no image")
    images = open_tree(root).dataset("test")
    assert images.classes == list(WNIDS)
    assert images.samples == clean.samples
    (root / "train" / WNIDS[1]).rename(root / "train" / ".n1")
    assert "has 2 class folders, but num_classes is 3" in message_of(root, "train")


def test_a_hidden_folder_above_the_data_hides_nothing(tmp_path):
    root = write_class_folders(tmp_path / ".data" / "@eaDir")
    assert len(open_tree(root).dataset("test")) == 6


@pytest.mark.parametrize("unpacked", [False, True])
def test_a_split_that_is_not_ready_does_not_stand_in_the_way(tmp_path, unpacked):
    root = write_class_folders(tmp_path, splits=("train",))
    (root / "val").mkdir()
    if unpacked:
        (root / "val" / "ILSVRC2012_val_00000001.JPEG").touch()
    assert len(open_tree(root).dataset("train")) == 6


def test_a_split_without_images_is_refused(tmp_path):
    root = write_class_folders(tmp_path, per_class=(0, 0, 0))
    assert "hold no images" in message_of(root)


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "P"])
def test_images_of_other_modes_become_rgb(tmp_path, mode):
    root = write_class_folders(tmp_path)
    file = root / "val" / WNIDS[0] / f"{WNIDS[0]}_0.JPEG"
    Image.new("L", (30, 30), 128).convert(mode).save(file, "PNG" if mode in "RGBAP" else "JPEG")
    image, _ = open_tree(root).dataset("test")[0]
    assert image.shape == (3, 16, 16)
    assert image.abs().max() < 0.1


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("damage", ["cut", "text", "gone"])
def test_an_unreadable_image_is_named_also_from_a_worker(tmp_path, damage, workers):
    root = write_class_folders(tmp_path)
    file = root / "val" / WNIDS[1] / f"{WNIDS[1]}_0.JPEG"
    module = open_tree(root, num_workers=workers)
    module.setup("test")
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(b"no image" if damage == "text" else file.read_bytes()[:300])
    with pytest.raises(UnreadableImageError) as caught:
        list(module.test_dataloader())
    assert str(caught.value).startswith(f"cannot read the image {file}: ")
    assert "\n" not in str(caught.value)
    # torch's re-raise ties the loader into a reference cycle, whose collection would wait 5 s.
    traceback.clear_frames(caught.value.__traceback__)
