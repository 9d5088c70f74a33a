"""An audit asks for no more of the images than it reads."""

import json

import pytest
from PIL import Image

from tests.data.class_folders import write_class_folders
from tests.data.conftest import write_celeba_tree


def results(folder):
    paths = sorted((folder / "runs" / "tiny" / "cases").glob("*/result.json"))
    return [json.loads(path.read_text()) for path in paths]


def folders_of_train_alone(root):
    write_class_folders(root, per_class=(2, 2), splits=("train",))
    (root / "train" / ".ipynb_checkpoints").mkdir()
    return "ggl_lightning.data.imagenet.ImageNetDataModule", {"num_classes": 2}


def celeba_without_test_images(root):
    write_celeba_tree(root, splits=(4, 2, 0))
    for path in (root / "celeba" / "img_align_celeba").glob("00000[56].jpg"):
        path.unlink()  # the images of the valid split
    return "ggl_lightning.data.celeba.CelebADataModule", {}


@pytest.mark.parametrize("write", [folders_of_train_alone, celeba_without_test_images])
def test_only_the_split_that_is_read_must_be_there(audit, tmp_path, write, capsys):
    name, settings = write(tmp_path / "images")
    arguments = [
        f"--data.images={name}",
        f"--data.images.init_args.root={tmp_path / 'images'}",
        "--data.images.init_args.image_size=8",
        *(f"--data.images.init_args.{key}={value}" for key, value in settings.items()),
        "--idx=0-1",
        "--budget=1",
    ]
    assert audit(*arguments) == 2
    assert "test split" in capsys.readouterr().err
    assert audit(*arguments, "--data.split=train") == 0
    assert len(results(tmp_path)) == 4


def test_labels_are_those_of_the_visible_folders(audit, tmp_path):
    name, _ = folders_of_train_alone(tmp_path / "images")
    for path in (tmp_path / "images" / "train").glob("*/*.JPEG"):
        Image.new("RGB", (9, 9), "white").save(path)
    assert (
        audit(
            f"--data.images={name}",
            f"--data.images.init_args.root={tmp_path / 'images'}",
            "--data.images.init_args.image_size=8",
            "--data.images.init_args.num_classes=2",
            "--data.split=train",
            "--idx=0-3",
            "--budget=1",
        )
        == 0
    )
    assert [result["labels"] for result in results(tmp_path)][::2] == [[0], [0], [1], [1]]
