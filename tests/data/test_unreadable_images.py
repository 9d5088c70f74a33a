"""Images that cannot be read are found before anything depends on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

from ggl_lightning.data.base import ImageDataModule
from ggl_lightning.data.celeba import CelebADataModule
from ggl_lightning.data.image_errors import UnreadableImageError
from ggl_lightning.data.image_files import check_image, open_image
from ggl_lightning.data.imagenet import ImageNetDataModule
from ggl_lightning.errors import UserError
from tests.data.class_folders import write_class_folders


def damage(path: Path, how: str) -> None:
    whole = path.read_bytes()
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how == "float":
        Image.fromarray(np.zeros((9, 9), np.float32)).save(path, "TIFF")
    elif how == "bomb":
        path.write_bytes(b"P5 60000 60000 255\n" + bytes(100))
    elif how == "header":
        path.write_bytes(b"P5 9 nine 255\n" + bytes(100))
    elif how != "gone":
        path.write_bytes({"cut": whole[:-2], "text": b"no image", "empty": b""}[how])


DAMAGES = {
    "cut": "truncated",
    "text": "no picture of a format that is read",
    "empty": "the file is empty",
    "gone": "No such file",
    "folder": "Is a directory",
    "float": "floating-point numbers",
    "bomb": "decompression bomb",
    "header": "nine",
}


@pytest.mark.parametrize("how", DAMAGES)
def test_every_data_module_of_files_names_the_file(celeba_root, write_tree, tmp_path, how):
    celeba = CelebADataModule(write_tree())
    folders = ImageNetDataModule(write_class_folders(tmp_path), image_size=16, num_classes=3)
    for module, count in ((celeba, 6), (folders, 6)):
        module.open_split("test")
        assert module.problems("test", range(count)) == []
        path = Path(
            module.dataset("test").path(4)
            if module is celeba
            else module.dataset("test").samples[4][0]
        )
        damage(path, how)
        (problem,) = module.problems("test", range(count))
        assert problem.startswith(f"cannot read the image {path}: ")
        assert DAMAGES[how] in problem
        assert "\n" not in problem
        assert module.problems("test", [0, 1, 2, 3, 5]) == []
        with pytest.raises(UnreadableImageError) as raised:
            module.dataset("test")[4]
        assert f"{raised.value}." == problem


def test_five_are_named_and_the_others_counted(write_tree):
    module = CelebADataModule(write_tree())
    module.open_split("train")
    for index in range(3, 12):
        module.dataset("train").path(index).write_bytes(b"")
    problems = module.problems("train", [0, *range(12), 11, 11])
    assert len(problems) == 6
    for index, problem in enumerate(problems[:5]):
        assert str(module.dataset("train").path(3 + index)) in problem
    assert problems[5] == "4 more images of the train split cannot be read."


def test_images_of_a_cache_were_read_before(write_tree, tmp_path):
    module = CelebADataModule(write_tree(), cache_dir=tmp_path / "cache")
    paths = CelebADataModule(module.root).dataset("train")
    module.open_split("train")
    paths.path(0).write_bytes(b"")
    assert module.problems("train", range(12)) == []
    module.dataset("train")[0]


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "tif", "bmp", "webp", "ppm"])
def test_a_file_cut_anywhere_is_found_and_a_whole_one_is_not(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    check_image(path)
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0\0 what some programs append")
    check_image(path)
    for kept in range(0, len(whole) - 1, 53):
        path.write_bytes(whole[:kept])
        try:
            open_image(path)
        except UnreadableImageError:
            with pytest.raises(UnreadableImageError):
                check_image(path)
        else:
            check_image(path)


class Numbers(ImageDataModule):
    """Images out of the blue, one of which cannot be had; opens the splits of a stage."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.image_size = 8
        self.error = error
        self.stages: list[str | None] = []

    def setup(self, stage: str | None = None) -> None:
        self.stages.append(stage)

    def dataset(self, split: str) -> Dataset:
        images = TensorDataset(torch.zeros(4, 3, 8, 8), torch.arange(4))
        error = self.error

        class Damaged(Dataset):
            def __len__(self) -> int:
                return 4

            def __getitem__(self, index: int) -> Sequence[torch.Tensor]:
                if index == 2:
                    raise error
                return images[index]

        return Damaged()


def test_a_data_module_of_another_kind_is_asked_for_its_images():
    module = Numbers(OSError("the tape is torn"))
    assert module.problems("train", [0, 1, 3]) == []
    expected = ["image 2 of the train split cannot be read: the tape is torn."]
    assert module.problems("train", range(4)) == expected
    assert Numbers(UserError("No tape.")).problems("test", [2]) == ["No tape."]
    with pytest.raises(ZeroDivisionError):  # a bug is none of the user's
        Numbers(ZeroDivisionError()).problems("test", [2])


def test_a_data_module_of_another_kind_sets_up_the_stage_that_reads_the_split():
    module = Numbers(OSError())
    for split in ("train", "valid", "test"):
        module.open_split(split)
    assert module.stages == ["fit", "fit", "test"]
