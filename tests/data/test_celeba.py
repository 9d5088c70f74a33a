"""The data module's images, labels, loaders and errors."""

from __future__ import annotations

import math
import traceback
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.cli import LightningCLI
from pytorch_lightning.demos.boring_classes import BoringModel

from ggl_lightning.data.celeba import CelebADataModule, attribute_index
from ggl_lightning.data.celeba_layout import ATTRIBUTES
from ggl_lightning.data.image_errors import UnreadableImageError
from ggl_lightning.errors import UserError


def image_path(root: Path, number: int) -> Path:
    return root / "celeba" / "img_align_celeba" / f"{number:06d}.jpg"


def reference_image(path: Path, size: int) -> np.ndarray:
    """Resize of the short side and centre crop by PIL alone; normalised in float64."""
    height = int(size * 218 / 178)
    top = round((height - size) / 2)
    resized = Image.open(path).resize((size, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(resized)[top : top + size]
    return ((pixels / 255 - 0.5) / 0.5).transpose(2, 0, 1)


@pytest.mark.parametrize("size", [8, 32, 64, 178])
def test_images_are_resized_cropped_and_in_minus_one_to_one(celeba_root, size):
    faces = CelebADataModule(celeba_root, image_size=size).dataset("valid")
    assert len(faces) == 5
    for i in range(5):
        image, _ = faces[i]
        assert image.shape == (3, size, size)
        assert image.dtype == torch.float32
        expected = reference_image(image_path(celeba_root, 13 + i), size)
        np.testing.assert_allclose(image.numpy(), expected, atol=1e-6)


def test_the_ends_of_the_range_are_exact(write_tree):
    root = write_tree()
    Image.new("RGB", (178, 218), "white").save(image_path(root, 1))
    Image.new("RGB", (178, 218), "black").save(image_path(root, 2))
    faces = CelebADataModule(root).dataset("train")
    assert (faces[0][0] == 1).all()
    assert (faces[1][0] == -1).all()


@pytest.mark.parametrize("attribute", ["Male", 20, "20"])
def test_labels_are_the_attribute_as_zero_and_one(celeba_root, attribute):
    lines = (celeba_root / "celeba" / "list_attr_celeba.txt").read_text().splitlines()[2:]
    expected = [int(line.split()[1 + 20] == "1") for line in lines]
    faces = CelebADataModule(celeba_root, target_attribute=attribute).dataset("train")
    labels = torch.stack([label for _, label in faces])
    assert labels.dtype == torch.int64
    assert labels.tolist() == expected[:12]
    assert set(labels.tolist()) == {0, 1}


def test_every_attribute_is_found_by_name_and_by_index():
    for index, name in enumerate(ATTRIBUTES):
        assert attribute_index(name) == attribute_index(index) == attribute_index(str(index))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"target_attribute": "male"}, "Did you mean 'Male'"),
        ({"target_attribute": "Smilling"}, "'Smiling'"),
        ({"target_attribute": 40}, "target_attribute is 40: an index must be 0 to 39"),
        ({"target_attribute": "-1"}, "target_attribute is -1"),
        ({"image_size": 7}, "image_size is 7: it must be 8 to 178"),
        ({"image_size": 179}, "image_size is 179"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": -64}, "batch_size is -64"),
        ({"num_workers": -1}, "num_workers is -1"),
        ({"num_workers": 100_000}, "num_workers is 100000"),
    ],
)
def test_bad_settings_are_refused_before_any_file_is_touched(tmp_path, options, expected):
    with pytest.raises(UserError) as caught:
        CelebADataModule(tmp_path / "nowhere", **options)
    assert expected in str(caught.value)


@pytest.mark.parametrize("call", ["prepare_data", "setup", "train_dataloader"])
def test_a_missing_root_is_refused_by_whatever_is_called_first(tmp_path, call):
    with pytest.raises(UserError, match="does not hold a complete CelebA"):
        getattr(CelebADataModule(tmp_path), call)()


def test_unknown_split_suggests_the_nearest(celeba_root):
    with pytest.raises(UserError, match="Did you mean 'train'"):
        CelebADataModule(celeba_root).dataset("training")


def test_training_sees_every_image_once_in_an_order_the_seed_decides(celeba_root):
    module = CelebADataModule(celeba_root, batch_size=5, drop_last=False)
    everything = torch.stack([image for image, _ in module.dataset("train")])

    def epoch(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.cat([images for images, _ in module.train_dataloader()])

    def order(images: torch.Tensor) -> list[int]:
        return [int((everything == image).flatten(1).all(1).nonzero()) for image in images]

    assert sorted(order(epoch(1))) == list(range(12))
    assert order(epoch(1)) != list(range(12))
    assert epoch(1).equal(epoch(1))
    assert not epoch(1).equal(epoch(2))


def test_only_training_drops_the_last_batch(celeba_root):
    module = CelebADataModule(celeba_root, batch_size=4)
    module.setup()
    sizes = {
        name: [len(labels) for _, labels in getattr(module, f"{name}_dataloader")()]
        for name in ("train", "val", "test")
    }
    assert sizes == {"train": [4, 4, 4], "val": [4, 1], "test": [4, 2]}
    assert [len(y) for _, y in CelebADataModule(celeba_root, batch_size=5).train_dataloader()] == [
        5,
        5,
    ]


def test_validation_and_test_keep_the_order(celeba_root):
    module = CelebADataModule(celeba_root, batch_size=4)
    for split, loader in (("valid", module.val_dataloader()), ("test", module.test_dataloader())):
        batches = list(loader)
        images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
        for i, (image, label) in enumerate(module.dataset(split)):
            assert image.equal(images[i])
            assert label == labels[i]


def test_a_training_split_smaller_than_one_batch_is_refused(celeba_root):
    with pytest.raises(UserError, match="has only 12 images: lower batch_size"):
        CelebADataModule(celeba_root).train_dataloader()
    assert len(CelebADataModule(celeba_root, drop_last=False).train_dataloader()) == 1


def test_splits_of_one_and_of_no_image(write_tree):
    module = CelebADataModule(write_tree(splits=(2, 1, 0)))
    assert len(module.dataset("valid")) == 1
    assert module.dataset("valid")[0][0].shape == (3, 32, 32)
    with pytest.raises(UserError, match=r"the test split of .* has no images"):
        module.setup("test")


def test_an_index_out_of_range_is_an_index_error(celeba_root):
    with pytest.raises(IndexError):
        CelebADataModule(celeba_root).dataset("test")[6]


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_images_of_other_modes_become_rgb(write_tree, mode):
    root = write_tree()
    Image.new("L", (178, 218), 128).convert(mode).save(image_path(root, 1), "JPEG")
    image, _ = CelebADataModule(root).dataset("train")[0]
    assert image.shape == (3, 32, 32)
    assert image.abs().max() < 0.1


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("damage", ["cut", "text", "empty", "gone"])
def test_an_unreadable_image_is_named_also_from_a_worker(write_tree, damage, workers):
    root = write_tree(splits=(1, 1, 4))
    path = image_path(root, 5)
    module = CelebADataModule(root, batch_size=2, num_workers=workers)
    module.setup("test")
    if damage == "gone":
        path.unlink()
    else:
        whole = path.read_bytes()
        path.write_bytes(
            {"cut": whole[: len(whole) // 2], "text": b"no image", "empty": b""}[damage]
        )
    with pytest.raises(UnreadableImageError) as caught:
        list(module.test_dataloader())
    assert isinstance(caught.value, UserError)
    assert str(caught.value).startswith(f"cannot read the image {path}: ")
    assert "Traceback" not in str(caught.value)
    assert "\n" not in str(caught.value)
    # torch's re-raise ties the loader into a reference cycle, whose collection would wait 5 s.
    traceback.clear_frames(caught.value.__traceback__)


@pytest.mark.parametrize("cached", [False, True])
def test_workers_load_the_same_batches(celeba_root, tmp_path, cached):
    cache_dir = tmp_path if cached else None
    batches = [
        list(
            CelebADataModule(
                celeba_root, batch_size=4, num_workers=workers, cache_dir=cache_dir
            ).test_dataloader()
        )
        for workers in (0, 2)
    ]
    for (images, labels), (other_images, other_labels) in zip(*batches, strict=True):
        assert images.equal(other_images)
        assert labels.equal(other_labels)


def test_worker_options_reach_the_loader(celeba_root):
    loader = CelebADataModule(celeba_root, num_workers=2, pin_memory=True).val_dataloader()
    assert (loader.num_workers, loader.pin_memory, loader.persistent_workers) == (2, True, True)
    alone = CelebADataModule(celeba_root).val_dataloader()
    assert (alone.num_workers, alone.pin_memory, alone.persistent_workers) == (0, False, False)


class MeanBrightness(BoringModel):
    """Trains one number on the module's batches and keeps what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3 * 32 * 32, 2)
        self.seen: list[tuple[torch.Size, torch.dtype]] = []

    def training_step(self, batch, batch_idx):
        images, labels = batch
        self.seen.append((images.shape, labels.dtype))
        return torch.nn.functional.cross_entropy(self.layer(images.flatten(1)), labels)

    def validation_step(self, batch, batch_idx):
        self.log("valid_loss", self.training_step(batch, batch_idx), batch_size=len(batch[1]))


def quiet_trainer(folder: Path) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )


def test_a_trainer_fits_and_caches_the_splits_it_needs(celeba_root, tmp_path):
    module = CelebADataModule(celeba_root, batch_size=4, cache_dir=tmp_path / "cache")
    model, trainer = MeanBrightness(), quiet_trainer(tmp_path)
    trainer.fit(model, datamodule=module)
    sizes = [shape[0] for shape, _ in model.seen]
    # The sanity check's two batches, three of training, two of validation.
    assert sizes == [4, 1, 4, 4, 4, 4, 1]
    assert {(shape[1:], dtype) for shape, dtype in model.seen} == {((3, 32, 32), torch.int64)}
    assert math.isfinite(trainer.callback_metrics["valid_loss"])
    written = sorted(path.name.split("-")[1] for path in (tmp_path / "cache").iterdir())
    assert written == ["train", "valid"]


def test_a_trainer_ends_in_the_same_error(tmp_path):
    with pytest.raises(UserError, match="does not hold a complete CelebA"):
        quiet_trainer(tmp_path).fit(MeanBrightness(), datamodule=CelebADataModule(tmp_path))


def test_the_command_line_takes_it_by_class_path(celeba_root, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train"])
    config = tmp_path / "config.yaml"
    config.write_text(
        f"""
        trainer: {{accelerator: cpu, logger: false, default_root_dir: {tmp_path}}}
        data:
          class_path: ggl_lightning.data.celeba.CelebADataModule
          init_args: {{root: {celeba_root}, image_size: 64, batch_size: 4}}
        """
    )
    cli = LightningCLI(
        MeanBrightness,
        pl.LightningDataModule,
        subclass_mode_data=True,
        run=False,
        seed_everything_default=False,
        args=["--config", str(config), "--data.target_attribute", "31", "--data.num_workers=0"],
    )
    assert isinstance(cli.datamodule, CelebADataModule)
    assert cli.datamodule.target_index == ATTRIBUTES.index("Smiling")
    assert next(iter(cli.datamodule.val_dataloader()))[0].shape == (4, 3, 64, 64)
    # What SaveConfigCallback will write must be readable again.
    assert f"root: {celeba_root}" in cli.parser.dump(cli.config)
