"""Folders of classes with three splits, and what is said of trees that are none."""

import pytest
import torch
from PIL import Image

from ggl_lightning.data.image_folders import ImageFolderDataModule
from ggl_lightning.data.imagenet import ImageNetDataModule
from ggl_lightning.errors import UserError
from tests.data.class_folders import WNIDS, write_class_folders


def names_of(module: ImageFolderDataModule, split: str) -> list[str]:
    return [path.rpartition("/")[2] for path, _ in module.dataset(split).samples]


def test_val_is_shared_by_valid_and_test_class_by_class(tmp_path):
    module = ImageFolderDataModule(write_class_folders(tmp_path, per_class=(2, 1, 5)), 16)
    first, second, third = WNIDS
    assert names_of(module, "valid") == [
        *(f"{first}_0.JPEG", f"{second}_0.JPEG"),
        *(f"{third}_{i}.JPEG" for i in (0, 2, 4)),
    ]
    assert names_of(module, "test") == [f"{first}_1.JPEG", f"{third}_1.JPEG", f"{third}_3.JPEG"]
    assert module.labels("test").tolist() == [0, 2, 2]
    assert module.dataset("test").classes == list(WNIDS)  # labels are those of all folders
    assert len(module.dataset("train")) == 8


def test_a_folder_of_test_images_leaves_val_whole(tmp_path):
    root = write_class_folders(tmp_path, splits=("train", "val", "test"))
    module = ImageFolderDataModule(root, 16)
    for split, folder in (("train", "train"), ("valid", "val"), ("test", "test")):
        assert {path.split("/")[-3] for path, _ in module.dataset(split).samples} == {folder}
        assert module.labels(split).tolist() == [0, 0, 1, 2, 2, 2]


def test_images_and_loaders_are_those_of_the_files(tmp_path):
    root = write_class_folders(tmp_path)
    Image.new("L", (9, 70), 255).save(root / "val" / WNIDS[1] / "z.png")  # any shape, any mode
    module = ImageFolderDataModule(root, image_size=12, batch_size=2, num_classes=3)
    reference = ImageNetDataModule(root, image_size=12, num_classes=3).dataset("test")
    by_path = {path: image for (path, _), (image, _) in zip(reference.samples, reference,
                                                            strict=True)}  # fmt: skip
    images, labels = next(iter(module.val_dataloader()))
    for image, label, (path, expected) in zip(
        images, labels, module.dataset("valid").samples[:2], strict=True
    ):
        assert torch.equal(image, by_path[path])
        assert label == expected
    white, label = module.dataset("test")[1]
    assert (white.shape, label) == ((3, 12, 12), 1)
    assert (white == 1).all()
    assert module.problems("test", range(3)) == []
    (root / "val" / WNIDS[1] / "z.png").write_bytes(b"")
    (problem,) = module.problems("test", range(3))
    assert "z.png" in problem


def test_a_split_that_is_not_read_need_not_be_there(tmp_path):
    module = ImageFolderDataModule(write_class_folders(tmp_path, splits=("val",)), 16)
    module.setup("test")
    with pytest.raises(
        UserError, match=r"does not hold the train split[\s\S]*folder train is missing"
    ):
        module.setup("fit")


def test_what_does_not_fit_is_named(tmp_path):
    root = write_class_folders(tmp_path / "a", per_class=(1, 1))
    with pytest.raises(UserError, match="no class there has two: add images, or a folder"):
        ImageFolderDataModule(root).dataset("test")
    assert len(ImageFolderDataModule(root).dataset("valid")) == 2
    with pytest.raises(UserError, match="train has 2 class folders, but num_classes is 3"):
        ImageFolderDataModule(root, num_classes=3).dataset("train")
    (root / "test" / "other").mkdir(parents=True)
    with pytest.raises(UserError, match="test and train must have the same class folders"):
        ImageFolderDataModule(root).dataset("test")
    (root / "test" / "other").rmdir()
    with pytest.raises(UserError, match="test holds no class folders"):
        ImageFolderDataModule(root).dataset("test")
    with pytest.raises(UserError, match="nowhere does not exist"):
        ImageFolderDataModule(tmp_path / "nowhere").dataset("valid")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 7}, "image_size is 7: it must be at least 8"),
        ({"num_classes": 0}, "num_classes is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_bad_settings_are_refused_before_any_file_is_touched(tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        ImageFolderDataModule(tmp_path / "nowhere", **settings)
