"""A complete tree is read as torchvision reads it; anything else ends in one message."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.datasets import CelebA

from ggl_lightning.data.celeba_dataset import CelebAFaces
from ggl_lightning.data.celeba_layout import ATTRIBUTES, SPLITS, check_celeba_root
from ggl_lightning.errors import UserError

LIST_FILES = [
    "list_attr_celeba.txt",
    "list_eval_partition.txt",
    "identity_CelebA.txt",
    "list_bbox_celeba.txt",
    "list_landmarks_align_celeba.txt",
]


def message_of(root: Path) -> str:
    with pytest.raises(UserError) as caught:
        check_celeba_root(root)
    return str(caught.value)


def edit(root: Path, file_name: str, line: int, text: str) -> None:
    path = root / "celeba" / file_name
    lines = path.read_text().splitlines()
    lines[line] = text
    path.write_text("\n".join(lines) + "\n")


def test_attribute_names_have_their_published_places():
    assert len(set(ATTRIBUTES)) == 40
    places = {"5_o_Clock_Shadow": 0, "Eyeglasses": 15, "Male": 20, "Smiling": 31, "Young": 39}
    assert {name: ATTRIBUTES.index(name) for name in places} == places


@pytest.mark.parametrize("split", SPLITS)
def test_reads_what_torchvision_reads(celeba_root, split, monkeypatch):
    ours = CelebAFaces(check_celeba_root(celeba_root), split)
    monkeypatch.setattr(CelebA, "_check_integrity", lambda self: True)
    reference = CelebA(celeba_root, split, target_type=["attr", "identity", "bbox", "landmarks"])
    assert ours.filename == reference.filename
    assert len(ours) == len(reference) > 0
    for table in ("attr", "identity", "bbox", "landmarks_align"):
        assert getattr(ours, table).equal(getattr(reference, table))
    assert ours.attr_names == reference.attr_names[:40]
    assert np.array_equal(np.asarray(ours[1][0]), np.asarray(reference[1][0]))


def test_accepts_the_celeba_folder_itself_under_any_name(write_tree, tmp_path):
    root = write_tree()
    assert check_celeba_root(root / "celeba").folder == root / "celeba"
    (root / "celeba").rename(tmp_path / "faces")
    assert len(CelebAFaces(check_celeba_root(tmp_path / "faces"), "train")) == 12


def test_accepts_windows_line_ends(write_tree):
    root = write_tree()
    for file_name in LIST_FILES:
        path = root / "celeba" / file_name
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert len(check_celeba_root(root).names) == 23


@pytest.mark.parametrize("exists", [True, False])
def test_an_empty_or_absent_root_says_where_celeba_comes_from(tmp_path, exists):
    root = tmp_path if exists else tmp_path / "nowhere"
    message = message_of(root)
    assert str(root / "celeba") in message
    assert "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html" in message
    assert "nothing is downloaded" in message
    assert "python -m ggl_lightning.data.synthetic --root" in message
    assert all(name in message for name in [*LIST_FILES, "img_align_celeba"])


@pytest.mark.parametrize("file_name", LIST_FILES)
def test_names_the_missing_list_and_no_other(write_tree, file_name):
    root = write_tree()
    (root / "celeba" / file_name).unlink()
    problems = [line for line in message_of(root).splitlines() if line.startswith("  - ")]
    assert problems == [f"  - {file_name} is missing"]


def test_everything_wrong_is_in_one_message(write_tree):
    root = write_tree()
    (root / "celeba" / "identity_CelebA.txt").unlink()
    edit(root, "list_bbox_celeba.txt", 4, "000003.jpg 1 2 three 4")
    shutil.rmtree(root / "celeba" / "img_align_celeba")
    (root / "celeba" / "img_align_celeba.zip").touch()
    message = message_of(root)
    assert "identity_CelebA.txt is missing" in message
    assert "list_bbox_celeba.txt line 5 is '000003.jpg 1 2 three 4'" in message
    assert "img_align_celeba is missing (img_align_celeba.zip is there: extract it)" in message


def test_recognises_csv_lists_and_doubly_nested_images(write_tree):
    root = write_tree()
    lists = root / "celeba" / "list_bbox_celeba.txt"
    lists.rename(lists.with_suffix(".csv"))
    images = root / "celeba" / "img_align_celeba"
    images.rename(root / "aside")
    images.mkdir()
    (root / "aside").rename(images / "img_align_celeba")
    message = message_of(root)
    assert "list_bbox_celeba.csv is there, but its format is another" in message
    assert "one level too deep" in message


@pytest.mark.parametrize(
    ("file_name", "line", "text", "expected"),
    [
        ("list_attr_celeba.txt", 0, "24", "announces '24' rows in its first line, but holds 23"),
        (
            "list_attr_celeba.txt",
            1,
            " ".join(ATTRIBUTES).replace("Male", "Man"),
            "column 20 is 'Man' instead of 'Male'",
        ),
        ("list_attr_celeba.txt", 1, " ".join(ATTRIBUTES[:-1]), "column 39 is None"),
        ("list_attr_celeba.txt", 1, " ".join(ATTRIBUTES) + " Old", "41 columns instead of 40"),
        ("list_attr_celeba.txt", 2, "000001.jpg" + " 0" * 40, "40 values that are none of (-1, 1)"),
        ("list_eval_partition.txt", 3, "000004.jpg 3", "the first is 3 for 000004.jpg"),
        ("list_eval_partition.txt", 3, "000004.jpg", "line 4 is '000004.jpg'"),
        ("list_eval_partition.txt", 3, "", "line 4 is ''"),
        ("identity_CelebA.txt", 3, "000004.jpg 1 2", "a file name and 1 whole number"),
        ("identity_CelebA.txt", 3, "000004.jpg " + "9" * 30, "do not fit 64 bits"),
        ("identity_CelebA.txt", 3, "000009.jpg 7", "differ in row 4: 000009.jpg and 000004.jpg"),
        ("list_landmarks_align_celeba.txt", 5, "000004.jpg 1.5" + " 2" * 9, "10 whole numbers"),
    ],
)
def test_says_what_is_wrong_in_a_list(write_tree, file_name, line, text, expected):
    root = write_tree()
    edit(root, file_name, line, text)
    message = message_of(root)
    assert file_name in message
    assert expected in message


def test_a_list_cut_short_is_found(write_tree):
    root = write_tree()
    path = root / "celeba" / "list_eval_partition.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:20]))
    assert "lists 20 images, list_attr_celeba.txt lists 23" in message_of(root)


def test_an_image_listed_twice_is_found(write_tree):
    root = write_tree()
    for file_name in LIST_FILES:
        path = root / "celeba" / file_name
        path.write_text(path.read_text().replace("000002.jpg", "000001.jpg"))
    assert "lists some image more than once" in message_of(root)


@settings(max_examples=20)
@given(removed=st.sets(st.integers(1, 23), min_size=1))
def test_counts_the_missing_images(celeba_root, tmp_path_factory, removed):
    root = tmp_path_factory.mktemp("partial") / "celeba"
    (root / "img_align_celeba").mkdir(parents=True)
    for file_name in LIST_FILES:
        shutil.copy(celeba_root / "celeba" / file_name, root)
    for number in set(range(1, 24)) - removed:
        (root / "img_align_celeba" / f"{number:06d}.jpg").touch()
    first = ", ".join(f"{number:06d}.jpg" for number in sorted(removed)[:3])
    expected = f"{len(removed)} of 23 listed images are not in img_align_celeba: {first}"
    assert expected in message_of(root)


@settings(max_examples=20)
@given(
    values=st.lists(
        st.lists(st.integers(-(2**63), 2**63 - 1), min_size=4, max_size=4),
        min_size=23,
        max_size=23,
    )
)
def test_every_whole_number_is_read_back(celeba_root, tmp_path_factory, values):
    root = tmp_path_factory.mktemp("numbers") / "celeba"
    root.mkdir()
    (root / "img_align_celeba").symlink_to(celeba_root / "celeba" / "img_align_celeba")
    for file_name in LIST_FILES:
        shutil.copy(celeba_root / "celeba" / file_name, root)
    rows = [f"{i + 1:06d}.jpg  " + "  ".join(map(str, row)) for i, row in enumerate(values)]
    (root / "list_bbox_celeba.txt").write_text("\n".join(["23", "x y w h", *rows]))
    assert check_celeba_root(root).values["list_bbox_celeba.txt"].tolist() == values
