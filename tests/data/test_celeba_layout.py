"""CelebA is read in every layout it comes in; what cannot be read ends in one message."""

from __future__ import annotations

import csv
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import CelebA

from ggl_lightning.data.celeba import CelebADataModule
from ggl_lightning.data.celeba_layout import ATTRIBUTES, SPLITS, check_celeba_root
from ggl_lightning.errors import UserError

ATTRIBUTE_LIST, PARTITION_LIST = LISTS = ["list_attr_celeba.txt", "list_eval_partition.txt"]


def message_of(root: Path) -> str:
    with pytest.raises(UserError) as caught:
        check_celeba_root(root)
    return str(caught.value)


def problems_of(root: Path) -> list[str]:
    return [line[4:] for line in message_of(root).splitlines() if line.startswith("  - ")]


def edit(root: Path, file_name: str, line: int, text: str) -> None:
    path = root / "celeba" / file_name
    lines = path.read_text().splitlines()
    lines[line] = text
    path.write_text("\n".join(lines) + "\n")


def rewrite(path: Path, change) -> None:
    path.write_bytes(change(path.read_bytes()))


def assert_same_faces(root: Path, reference: Path) -> None:
    for split in SPLITS:
        ours = CelebADataModule(root, target_attribute="Young").dataset(split)
        expected = CelebADataModule(reference, target_attribute="Young").dataset(split)
        assert ours.labels.tolist() == expected.labels.tolist()
        assert len(ours) == len(expected) > 0
        for i in range(len(ours)):
            assert ours[i][0].equal(expected[i][0])


def to_csv(path: Path, has_header: bool, first: str) -> None:
    lines = path.read_text().splitlines()
    header = lines[1].split() if has_header else ["partition"]
    with path.with_suffix(".csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [[first, *header], *(line.split() for line in lines[2 if has_header else 0 :])]
        )
    path.unlink()


def as_kaggle(root: Path) -> None:
    """https://www.kaggle.com/datasets/jessicali9530/celeba-dataset, unpacked into a folder."""
    celeba = root / "celeba"
    to_csv(celeba / ATTRIBUTE_LIST, True, "image_id")
    to_csv(celeba / PARTITION_LIST, False, "image_id")
    (celeba / "img_align_celeba").rename(root / "aside")
    (celeba / "img_align_celeba").mkdir()
    (root / "aside").rename(celeba / "img_align_celeba" / "img_align_celeba")
    for name in ("identity_CelebA.txt", "list_bbox_celeba.txt", "list_landmarks_align_celeba.txt"):
        (celeba / name).unlink()


def as_authors(root: Path) -> None:
    """The folders that the authors share."""
    celeba = root / "celeba"
    for folder, names in {
        "Img": ["img_align_celeba"],
        "Anno": [
            *(ATTRIBUTE_LIST, "identity_CelebA.txt"),
            *("list_bbox_celeba.txt", "list_landmarks_align_celeba.txt"),
        ],
        "Eval": [PARTITION_LIST],
    }.items():
        (celeba / folder).mkdir()
        for name in names:
            (celeba / name).rename(celeba / folder / name)


def as_few_files(root: Path) -> None:
    for name in ("identity_CelebA.txt", "list_bbox_celeba.txt", "list_landmarks_align_celeba.txt"):
        (root / "celeba" / name).unlink()


def test_attribute_names_have_their_published_places():
    assert len(set(ATTRIBUTES)) == 40
    places = {"5_o_Clock_Shadow": 0, "Eyeglasses": 15, "Male": 20, "Smiling": 31, "Young": 39}
    assert {name: ATTRIBUTES.index(name) for name in places} == places


@pytest.mark.parametrize("split", SPLITS)
def test_reads_what_torchvision_reads(celeba_root, split, monkeypatch):
    monkeypatch.setattr(CelebA, "_check_integrity", lambda self: True)
    reference = CelebA(celeba_root, split)
    for index in (0, 20, 39):
        ours = CelebADataModule(celeba_root, 178, target_attribute=index).dataset(split)
        assert ours.files == reference.filename
        assert ours.labels.equal(reference.attr[:, index])
        assert len(ours) == len(reference) > 0
    # At 178 pixels a face is cropped and not resized.
    pixels = np.asarray(reference[1][0])[20:198].transpose(2, 0, 1)
    np.testing.assert_array_equal(ours.pixels(1).numpy(), pixels)


@pytest.mark.parametrize("arrange", [as_kaggle, as_authors, as_few_files])
@pytest.mark.parametrize("where", ["celeba", "CelebA", "."])
def test_every_layout_gives_the_same_faces(write_tree, celeba_root, arrange, where, tmp_path):
    root = write_tree()
    arrange(root)
    home = tmp_path / "home"
    home.mkdir()
    (root / "celeba").rename(home / where if where != "." else home / "x")
    assert_same_faces(home if where != "." else home / "x", celeba_root)


def test_the_authors_lossless_images(write_tree):
    root = write_tree()
    images = root / "celeba" / "img_align_celeba"
    first = CelebADataModule(root, 178).dataset("train")[0][0]
    for path in list(images.iterdir()):
        with Image.open(path) as image:
            image.save(path.with_suffix(".png"))
        path.unlink()
    images.rename(root / "celeba" / "img_align_celeba_png")
    faces = CelebADataModule(root, 178).dataset("train")
    assert faces.files[0] == "000001.png"
    assert faces[0][0].equal(first)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n") + b"\r\n\r\n",
        lambda text: text.rstrip(b"\n"),
        lambda text: text.replace(b" ", b"\t"),
    ],
)
@pytest.mark.parametrize("arrange", [as_few_files, as_kaggle])
@pytest.mark.parametrize("both", [True, False])
def test_what_editors_do_to_a_list_does_no_harm(write_tree, celeba_root, change, arrange, both):
    root = write_tree()
    arrange(root)
    for path in list((root / "celeba").glob("list_*"))[: 2 if both else 1]:
        rewrite(path, change)
    assert_same_faces(root, celeba_root)


@pytest.mark.parametrize("arrange", [as_few_files, as_kaggle])
def test_attributes_may_be_zero_and_one(write_tree, celeba_root, arrange):
    root = write_tree()
    arrange(root)
    (path,) = (root / "celeba").glob("list_attr*")
    rewrite(path, lambda text: text.replace(b"-1", b" 0"))
    assert_same_faces(root, celeba_root)


def test_lists_in_different_orders_belong_together_by_name(write_tree, celeba_root):
    root = write_tree()
    path = root / "celeba" / ATTRIBUTE_LIST
    count, header, *rows = path.read_text().splitlines()
    random.Random(0).shuffle(rows)
    path.write_text("\n".join([count, header, *rows]))
    assert_same_faces(root, celeba_root)


def test_the_partition_list_gives_the_order(write_tree):
    root = write_tree()
    path = root / "celeba" / PARTITION_LIST
    path.write_text("\n".join(reversed(path.read_text().splitlines())))
    files = CelebADataModule(root).dataset("valid").files
    assert files == [f"{i:06d}.jpg" for i in range(17, 12, -1)]


def test_images_may_end_otherwise_than_the_list_says(write_tree, celeba_root):
    root = write_tree()
    images = root / "celeba" / "img_align_celeba"
    (images / "000001.jpg").rename(images / "000001.JPG")
    (images / "000002.jpg").rename(images / "000002.jpeg")
    (images / "._000002.jpg").touch()
    (images / "000002.txt").touch()
    assert_same_faces(root, celeba_root)
    shutil.copy(images / "000001.JPG", images / "000001.jpeg")
    with pytest.raises(UserError, match=r"000001\.jpg \(000001\.JPG or 000001\.jpeg\?\)"):
        CelebADataModule(root).dataset("train")


def test_names_may_have_blanks(write_tree, celeba_root):
    root = write_tree()
    for path in [*(root / "celeba").glob("list_[ae]*"), *(root / "celeba").glob("img*/000003.jpg")]:
        if path.suffix == ".txt":
            rewrite(path, lambda text: text.replace(b"000003.jpg", b"my face 3.jpg"))
        else:
            path.rename(path.with_name("my face 3.jpg"))
    assert_same_faces(root, celeba_root)


def test_only_the_images_of_the_split_must_be_there(write_tree):
    root = write_tree()
    images = root / "celeba" / "img_align_celeba"
    for number in (1, 2, 3, 4, 13):
        (images / f"{number:06d}.jpg").unlink()
    module = CelebADataModule(root)
    module.setup("test")
    assert len(module.dataset("test")) == 6
    for split, expected in (
        ("train", "4 of the 12 images of the train split"),
        ("valid", "1 of the 5 images of the valid split"),
    ):
        with pytest.raises(UserError) as caught:
            module.dataset(split)
        assert expected in str(caught.value)
        assert str(images) in str(caught.value)
    assert "000013.jpg" in str(caught.value)


def test_a_name_in_a_list_does_not_lead_out_of_the_folder(write_tree):
    root = write_tree()
    for name in LISTS:
        path = root / "celeba" / name
        rewrite(path, lambda text: text.replace(b"000001.jpg", b"../outside.jpg"))
    shutil.copy(root / "celeba" / "img_align_celeba" / "000001.jpg", root / "celeba/outside.jpg")
    with pytest.raises(UserError, match=r"are not in .*: \.\./outside\.jpg"):
        CelebADataModule(root).dataset("train")


@pytest.mark.parametrize("exists", [True, False])
def test_an_empty_or_absent_root_says_where_celeba_comes_from(tmp_path, exists):
    root = tmp_path if exists else tmp_path / "nowhere"
    message = message_of(root)
    assert str(root / "celeba") in message
    assert "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html" in message
    assert "nothing is downloaded" in message
    assert "`ggl-faces --root data/synthetic`" in message
    assert all(name in message for name in [*LISTS, "img_align_celeba"])


def test_a_home_folder_of_nobody():
    for argument in ("root", "cache_dir"):
        with pytest.raises(UserError, match=f"{argument} is '~nosuchuser/x': no home folder of"):
            CelebADataModule(**{"root": ".", argument: "~nosuchuser/x"})


@pytest.mark.parametrize("file_name", LISTS)
def test_names_the_missing_list_and_no_other(write_tree, file_name):
    root = write_tree()
    (root / "celeba" / file_name).unlink()
    assert problems_of(root) == [f"{file_name} is missing"]
    archive = f"{Path(file_name).stem}.csv.zip"
    (root / "celeba" / archive).touch()
    assert problems_of(root) == [f"{file_name} is missing ({archive} is there: extract it)"]


def test_everything_wrong_is_in_one_message(write_tree):
    root = write_tree()
    (root / "celeba" / PARTITION_LIST).unlink()
    edit(root, ATTRIBUTE_LIST, 4, "000003.jpg 1 2 three 4")
    shutil.rmtree(root / "celeba" / "img_align_celeba")
    (root / "celeba" / "img_align_celeba.zip").touch()
    assert problems_of(root) == [
        "list_attr_celeba.txt line 5 is '000003.jpg 1 2 three 4': expected a file name and 40 "
        "whole numbers",
        "list_eval_partition.txt is missing",
        "the folder img_align_celeba is missing (img_align_celeba.zip is there: extract it)",
    ]


@pytest.mark.parametrize("archive", ["Img/img_align_celeba.zip", "img_align_celeba.tar.gz"])
def test_a_folder_of_images_that_is_empty_still(write_tree, archive):
    root = write_tree()
    shutil.rmtree(root / "celeba" / "img_align_celeba")
    folder = root / "celeba" / Path(archive).parent / "img_align_celeba"
    folder.mkdir(parents=True)
    (folder / "readme.txt").touch()
    (root / "celeba" / archive).touch()
    expected = f"the folder {folder} holds no images ({Path(archive).name} is there: extract it)"
    assert problems_of(root) == [expected]


def test_the_one_archive_of_everything(tmp_path):
    (tmp_path / "archive.zip").touch()
    assert len(problems_of(tmp_path)) == 3
    assert all("(archive.zip is there: extract it)" in line for line in problems_of(tmp_path))


def test_the_folder_of_images_itself(write_tree):
    message = message_of(write_tree() / "celeba" / "img_align_celeba")
    assert "img_align_celeba is the folder of the images: give the one above it" in message


@pytest.mark.parametrize(
    ("file_name", "line", "text", "expected"),
    [
        (ATTRIBUTE_LIST, 0, "24", "announces '24' rows in its first line, but holds 23"),
        (
            ATTRIBUTE_LIST,
            1,
            " ".join(ATTRIBUTES).replace("Male", "Man"),
            "column 20 is 'Man' instead of 'Male'",
        ),
        (ATTRIBUTE_LIST, 1, " ".join(ATTRIBUTES[:-1]), "column 39 is None"),
        (ATTRIBUTE_LIST, 1, " ".join(ATTRIBUTES) + " Old", "41 columns instead of 40"),
        (ATTRIBUTE_LIST, 2, "000001.jpg" + " 0" * 40, "40 values that are none of (-1, 1)"),
        (ATTRIBUTE_LIST, 2, "000001.jpg" + " 1.5" * 40, "line 3 is"),
        (PARTITION_LIST, 3, "000004.jpg 3", "the first is 3 for 000004.jpg"),
        (PARTITION_LIST, 3, "000004.jpg", "line 4 is '000004.jpg'"),
        (PARTITION_LIST, 3, "", "line 4 is ''"),
        (PARTITION_LIST, 3, "000004.jpg " + "9" * 30, "do not fit 64 bits"),
        (PARTITION_LIST, 3, "000005.jpg 0", "lists 1 images more than once"),
        (
            PARTITION_LIST,
            3,
            "000104.jpg 0",
            "1 are only in list_eval_partition.txt, the first is 000104.jpg",
        ),
        (
            PARTITION_LIST,
            3,
            "000004.jpg 1 2",
            "1 are only in list_eval_partition.txt, the first is 000004.jpg 1",
        ),
    ],
)
def test_says_what_is_wrong_in_a_list(write_tree, file_name, line, text, expected):
    root = write_tree()
    edit(root, file_name, line, text)
    message = message_of(root)
    assert file_name in message
    assert expected in message


@pytest.mark.parametrize(
    ("file_name", "line", "text", "expected"),
    [
        ("list_attr_celeba.csv", 3, "000003.jpg,1,x", "line 4 is '000003.jpg 1 x'"),
        ("list_attr_celeba.csv", 3, "000003.jpg;1;-1", "line 4 is '000003.jpg;1;-1'"),
        ("list_attr_celeba.csv", 0, "image_id,Male", "has another header: column 0 is 'Male'"),
        ("list_eval_partition.csv", 0, "000001.jpg,0", "has no header"),
        ("list_eval_partition.csv", 3, "000003.jpg,7", "the first is 7 for 000003.jpg"),
        ("list_eval_partition.csv", 3, "000002.jpg,1", "lists 1 images more than once"),
        ("list_eval_partition.csv", 3, '"' + "0" * 200_000 + '",1', "is no CSV file: field larger"),
    ],
)
def test_says_what_is_wrong_in_a_csv_list(write_tree, file_name, line, text, expected):
    root = write_tree()
    as_kaggle(root)
    edit(root, file_name, line, text)
    message = message_of(root)
    assert file_name in message
    assert expected in message


@pytest.mark.parametrize("content", ["", "image_id,partition\n"])
def test_a_csv_list_of_nothing(write_tree, content):
    root = write_tree()
    as_kaggle(root)
    (root / "celeba" / "list_eval_partition.csv").write_text(content)
    (problem,) = problems_of(root)
    assert problem.startswith("list_eval_partition.csv ")


def test_quoted_csv(write_tree, celeba_root):
    root = write_tree()
    as_kaggle(root)
    for path in (root / "celeba").glob("*.csv"):
        rows = list(csv.reader(path.read_text().splitlines()))
        with path.open("w", newline="") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)
    assert_same_faces(root, celeba_root)


def test_a_list_cut_short_is_found(write_tree):
    root = write_tree()
    path = root / "celeba" / PARTITION_LIST
    path.write_text("\n".join(path.read_text().splitlines()[:20]))
    expected = "3 are only in list_attr_celeba.txt, the first is 000021.jpg"
    assert expected in message_of(root)
