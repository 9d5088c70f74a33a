"""Synthetic faces: determinism, CelebA's layout, and attributes that agree with the pixels."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets import CelebA

from ggl_lightning.cli import run_command
from ggl_lightning.data.celeba_layout import ATTRIBUTES, check_celeba_root
from ggl_lightning.data.synthetic import draw_face, write_synthetic_celeba
from ggl_lightning.data.synthetic.attributes import describe
from ggl_lightning.data.synthetic.canvas import double, ramp, smooth_field
from ggl_lightning.data.synthetic.cli import main
from ggl_lightning.data.synthetic.features import mouth_corner
from ggl_lightning.data.synthetic.lists import partition
from ggl_lightning.data.synthetic.pose import Pose
from ggl_lightning.data.synthetic.render import render
from ggl_lightning.data.synthetic.traits import (
    BLOCK,
    Person,
    Photo,
    identity_of,
    sample_person,
    sample_photo,
)
from ggl_lightning.data.synthetic.writer import MARKER_FILE
from ggl_lightning.errors import UserError

COUNT = 60


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic_celeba(
        tmp_path_factory.mktemp("faces"), COUNT, seed=5, workers=1, progress=False
    )


def read_images(root: Path) -> list[bytes]:
    folder = root / "celeba" / "img_align_celeba"
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def plain() -> tuple[Person, Photo]:
    """A light-skinned man, shaven, unsmiling and frontal: a base for one change at a time."""
    person = replace(
        sample_person(0, 4),
        male=True, skin=np.array([0.7, 0.45, 0.33], np.float32), hair_end_y=5.0, hair_side=3.0,
        hairline_y=-42.0, bald=False, bangs=False, receding=0.0, curtain=0.0, parting=0.0, wave=0.0,
        curl=0.0, stubble=0.0, moustache=0.0, goatee=0.0, beard=0.0, sideburns=0.0,
        hair=np.array([0.02, 0.015, 0.012], np.float32), fullness=0.3, age=0.3, eye_tilt=0.0,
        upper_lip=3.5, lower_lip=5.0,
    )  # fmt: skip
    photo = replace(
        sample_photo(0, 3, person),
        pose=Pose(0, 0, 0, 1, 88.5, 111, person.eye_x),
        light=np.array([0, -0.4, 0.9165], np.float32), ambient=0.4, exposure=0.9,
        balance=np.ones(3, np.float32), smile=0.0, mouth_open=0.0, makeup=0.0, lipstick=0.0,
        rosy=0.1, hat="none", glasses="none", blurry=False, gaze_x=0.0, gaze_y=0.0, eye_open=1.0,
        hat_colour=np.array([0.1, 0.2, 0.8], np.float32), necktie=False, earrings=False,
    )  # fmt: skip
    return person, photo


def region(person: Person, photo: Photo, x: float, y: float, half: int = 3) -> np.ndarray:
    """Mean RGB of the drawn photo around the head coordinates ``(x, y)``."""
    column, row = (round(v) for v in photo.pose.project(x, y))
    pixels = render(person, photo)
    patch_ = pixels[row - half : row + half + 1, column - half : column + half + 1]
    return patch_.reshape(-1, 3).mean(axis=0)


# --- pixels -----------------------------------------------------------------------------------


def test_double_is_linear_interpolation_between_pixel_centres() -> None:
    values = np.random.default_rng(0).normal(size=(2, 5, 7)).astype(np.float32)
    rows = (np.arange(10) - 0.5) / 2
    columns = (np.arange(14) - 0.5) / 2
    expected = np.stack(
        [
            np.stack(
                [
                    np.interp(columns, np.arange(7), row)
                    for row in np.stack(
                        [np.interp(rows, np.arange(5), layer[:, j]) for j in range(7)], axis=1
                    )
                ]
            )
            for layer in values
        ]
    )
    np.testing.assert_allclose(double(values), expected, rtol=0, atol=1e-6)


@given(start=st.floats(-5, 5), width=st.floats(0.5, 5), falling=st.booleans())
def test_ramp_is_smoothstep(start: float, width: float, falling: bool) -> None:
    stop = start - width if falling else start + width
    values = np.linspace(-12, 12, 97, dtype=np.float32)
    t = np.clip((values.astype(float) - start) / (stop - start), 0, 1)
    np.testing.assert_allclose(ramp(values, start, stop), t * t * (3 - 2 * t), atol=2e-5)


def test_smooth_field_keeps_constants_and_stays_within_its_knots() -> None:
    assert smooth_field(np.full((3, 5, 5), 0.25), 218, 178) == pytest.approx(0.25, abs=1e-6)
    knots = np.random.default_rng(1).random((4, 6))
    field = smooth_field(knots, 40, 30)
    assert field.min() >= knots.min() - 1e-6
    assert field.max() <= knots.max() + 1e-6


@pytest.mark.parametrize(("share", "pixels"), [(2 / 3, 0.35), (1, 1.5)])
@settings(max_examples=40)
@given(
    yaw=st.floats(-24, 24), pitch=st.floats(-14, 14), roll=st.floats(-7, 7),
    scale=st.floats(0.92, 1.08), x=st.floats(-30, 30), y=st.floats(-20, 55),
)  # fmt: skip
def test_each_pixel_shows_the_head_point_that_lands_on_it(
    share: float, pixels: float,
    yaw: float, pitch: float, roll: float, scale: float, x: float, y: float,
) -> None:  # fmt: skip
    yaw, pitch = share * yaw, share * pitch  # of the largest turns; there, the nose hides a cheek
    pose = Pose(yaw, pitch, roll, scale, 88.5, 111, 19.5)
    column, row = pose.project(x, y)
    half_x, half_y = pose.head_coordinates()
    # Half-resolution pixel i is centred on 2 i + 0.5.
    i, j = round((row - 0.5) / 2), round((column - 0.5) / 2)
    back = pose.project(float(half_x[i, j]), float(half_y[i, j]))
    assert back == pytest.approx((2 * j + 0.5, 2 * i + 0.5), abs=pixels)


# --- determinism ------------------------------------------------------------------------------


def test_a_face_depends_on_seed_and_index_alone(tree: Path) -> None:
    late, described = draw_face(5, 40)
    draw_face(5, 1)
    again, described_again = draw_face(5, 40)
    assert late.shape == (218, 178, 3)
    assert late.dtype == np.uint8
    np.testing.assert_array_equal(late, again)
    assert described == described_again
    assert not np.array_equal(late, draw_face(6, 40)[0])
    with Image.open(tree / "celeba" / "img_align_celeba" / "000041.jpg") as stored:
        assert stored.size == (178, 218)
        error = np.abs(np.asarray(stored).astype(int) - late)
    assert error.mean() < 3  # JPEG's own loss


def test_count_and_workers_do_not_change_the_images(tree: Path, tmp_path: Path) -> None:
    pooled = write_synthetic_celeba(tmp_path / "pool", 70, seed=5, workers=2, progress=False)
    assert read_images(pooled)[:COUNT] == read_images(tree)


def test_photos_of_one_person_differ_but_share_the_person() -> None:
    assert [identity_of(i) for i in range(BLOCK + 1)] == [1, 2, 3] * 4 + [4]
    faces = [draw_face(0, i) for i in range(0, BLOCK, 3)]
    assert {face.identity for _, face in faces} == {1}
    for name in ("Male", "Young", "Big_Nose", "Oval_Face"):
        assert len({face.attributes[name] for _, face in faces}) == 1
    for (a, _), (b, _) in itertools.pairwise(faces):
        assert np.abs(a.astype(int) - b).mean() > 5


# --- layout -----------------------------------------------------------------------------------


def test_the_layout_check_accepts_the_tree(tree: Path) -> None:
    assert len(check_celeba_root(tree).names) == COUNT


def test_torchvision_reads_the_tree_and_sees_what_was_drawn(tree: Path) -> None:
    sizes = {}
    identities: dict[str, set[int]] = {}
    # The real files' checksums are the one thing that a stand-in cannot have.
    with patch("torchvision.datasets.celeba.check_integrity", return_value=True):
        for split in ("train", "valid", "test"):
            data = CelebA(
                str(tree), split=split, target_type=["attr", "identity", "bbox", "landmarks"]
            )
            sizes[split] = len(data)
            identities[split] = {int(data[i][1][1]) for i in range(len(data))}
        everything = CelebA(
            str(tree), split="all", target_type=["attr", "identity", "bbox", "landmarks"]
        )
    assert list(everything.attr_names) == list(ATTRIBUTES)
    assert sum(sizes.values()) == COUNT == len(everything)
    assert min(sizes.values()) >= 2
    assert identities["train"].isdisjoint(identities["valid"] | identities["test"])
    assert identities["valid"].isdisjoint(identities["test"])
    for index in (0, 17, 59):
        image, (attributes, identity, box, landmarks) = everything[index]
        _, face = draw_face(5, index)
        assert image.size == (178, 218)
        assert attributes.tolist() == [int(face.attributes[name]) for name in ATTRIBUTES]
        assert int(identity) == face.identity
        assert tuple(box.tolist()) == face.box
        assert tuple(landmarks.tolist()) == face.landmarks


def test_attribute_file_looks_like_the_original(tree: Path) -> None:
    lines = (tree / "celeba" / "list_attr_celeba.txt").read_text().splitlines()
    assert lines[0] == str(COUNT)
    assert lines[1].split()[20] == "Male"
    name, *values = lines[2].split()
    assert name == "000001.jpg"
    assert len(values) == 40
    assert set(values) <= {"-1", "1"}


@given(count=st.integers(1, 999_999))
def test_splits_are_contiguous_and_never_share_a_person(count: int) -> None:
    valid, test = partition(count)
    assert 0 < valid <= test <= count
    for start in (valid, test):
        assert start == count or start % BLOCK == 0
    assert count - test != 1
    if count >= 3 * BLOCK:
        assert valid < test < count
    if count >= 5000:
        assert valid / count == pytest.approx(0.8, abs=0.005)
        assert test / count == pytest.approx(0.9, abs=0.005)


# --- attributes agree with the drawing --------------------------------------------------------


def test_landmarks_are_where_the_features_are_drawn() -> None:
    person, photo = plain()
    pose = replace(photo.pose, yaw=15.0, pitch=-5.0, roll=4.0)
    photo = replace(photo, pose=pose)
    landmarks = describe(1, person, photo).landmarks
    pixels = render(person, photo).astype(float)
    for x, y in (landmarks[0:2], landmarks[2:4]):
        # The pupil is the darkest small patch around an eye.
        around = pixels[y - 6 : y + 7, x - 8 : x + 9].sum(axis=2)
        small = np.array([[around[i : i + 3, j : j + 3].mean() for j in range(15)]
                          for i in range(11)])  # fmt: skip
        row, column = np.unravel_index(small.argmin(), small.shape)
        assert abs(column + 1 - 8) <= 3
        assert abs(row + 1 - 6) <= 3


def test_faces_are_aligned_as_in_celeba() -> None:
    landmarks = np.array(
        [
            describe(1, person, sample_photo(0, i, person)).landmarks
            for i in range(300)
            for person in [sample_person(0, identity_of(i))]
        ]
    )
    np.testing.assert_allclose(landmarks.mean(axis=0)[:4], [69, 111, 108, 111], atol=1.5)
    assert landmarks.std(axis=0)[:4].max() < 3


def test_hair_colour_is_the_named_one() -> None:
    person, photo = plain()
    black = region(replace(person, hair_shade=0.0), photo, 0, -60)
    blond_person = replace(person, hair=np.array([0.63, 0.40, 0.17], np.float32))
    blond = region(blond_person, photo, 0, -60)
    assert black.max() < 80
    assert blond[0] > 140
    assert blond[0] > blond[2] + 40
    for index in range(200):
        who = sample_person(1, identity_of(index))
        named = describe(1, who, sample_photo(1, index, who)).attributes
        level = float(np.sqrt(who.hair).mean())
        if named["Black_Hair"]:
            assert level < 0.32
        if named["Blond_Hair"]:
            assert level > 0.5
        assert sum(named[c] for c in ("Black_Hair", "Brown_Hair", "Blond_Hair", "Gray_Hair")) <= 1


def test_a_bald_head_shows_skin_where_hair_was() -> None:
    person, photo = plain()
    bald = replace(person, bald=True)
    assert describe(1, bald, photo).attributes["Bald"]
    assert region(bald, photo, 0, -52).mean() > region(person, photo, 0, -52).mean() + 60


def test_bangs_cover_the_forehead() -> None:
    person, photo = plain()
    bangs = replace(person, bangs=True, hairline_y=-22.0)
    assert region(bangs, photo, 0, -32).mean() < region(person, photo, 0, -32).mean() - 60


def test_a_hat_covers_the_hair_and_is_told() -> None:
    person, photo = plain()
    for hat in ("cap", "beanie", "brim"):
        worn = replace(photo, hat=hat)
        assert describe(1, person, worn).attributes["Wearing_Hat"]
        assert not describe(1, replace(person, bald=True), worn).attributes["Bald"]
        red, _, blue = region(person, worn, 0, -50)
        assert blue > red + 60


def test_sunglasses_hide_the_eyes_and_count_as_eyeglasses() -> None:
    person, photo = plain()
    worn = replace(photo, glasses="sun", lens_height=11.0, lens_width=15.0)
    named = describe(1, replace(person, bags=1.0, eye_open=2.0), worn).attributes
    assert named["Eyeglasses"]
    assert not named["Narrow_Eyes"]
    assert not named["Bags_Under_Eyes"]
    assert region(person, worn, 25, 6).mean() < 80 < region(person, photo, 25, 6).mean()


def test_a_smile_lifts_the_corners_of_the_mouth() -> None:
    person, photo = plain()
    smiling = replace(photo, smile=0.9)
    assert describe(1, person, smiling).attributes["Smiling"]
    assert not describe(1, person, photo).attributes["Smiling"]
    assert mouth_corner(person, smiling)[1] < mouth_corner(person, photo)[1] - 2
    assert mouth_corner(person, smiling)[0] > mouth_corner(person, photo)[0]


def test_an_open_mouth_shows_teeth_or_dark() -> None:
    person, photo = plain()
    parted = replace(photo, mouth_open=1.0)
    assert describe(1, person, parted).attributes["Mouth_Slightly_Open"]
    gap = region(person, parted, 0, person.mouth_y + 4, half=1)
    assert np.abs(gap - region(person, photo, 0, person.mouth_y + 4, half=1)).max() > 40


def test_lipstick_reddens_the_lips() -> None:
    person, photo = plain()
    painted = replace(photo, lipstick=1.0, lip_colour=np.array([0.5, 0.03, 0.06], np.float32))
    assert describe(1, person, painted).attributes["Wearing_Lipstick"]
    where = (7.0, person.mouth_y + 2)  # beside the wet highlight
    bare, red = region(person, photo, *where, half=1), region(person, painted, *where, half=1)
    assert red[0] - red[1] > bare[0] - bare[1] + 20


@pytest.mark.parametrize(
    ("kind", "name", "y"), [("moustache", "Mustache", -6.0), ("goatee", "Goatee", 18.0)]
)
def test_facial_hair_darkens_its_place(kind: str, name: str, y: float) -> None:
    person, photo = plain()
    grown = replace(person, **{kind: 0.9})
    named = describe(1, grown, photo).attributes
    assert named[name]
    assert not named["No_Beard"]
    assert describe(1, person, photo).attributes["No_Beard"]
    place = (0.0, person.mouth_y + y)
    shaved = region(person, photo, *place, half=2).mean()
    assert region(grown, photo, *place, half=2).mean() < shaved - 40


def test_light_comes_from_where_the_photo_says() -> None:
    person, photo = plain()
    for side in (-1, 1):
        lit = replace(photo, light=np.array([side * 0.8, -0.2, 0.566], np.float32), ambient=0.25)
        toward, away = region(person, lit, side * 30, 15), region(person, lit, -side * 30, 15)
        assert toward.mean() > away.mean() + 30


def test_attributes_are_about_as_frequent_as_in_celeba() -> None:
    named = []
    for identity in range(1, 1201):
        person = sample_person(2, identity)
        named.append(describe(identity, person, sample_photo(2, identity, person)).attributes)
    share = {name: np.mean([a[name] for a in named]) for name in ATTRIBUTES}
    # CelebA's published frequencies; four standard errors are about 0.06.
    for name, expected in {
        "Male": 0.417, "Smiling": 0.482, "Young": 0.774, "Mouth_Slightly_Open": 0.483,
        "No_Beard": 0.835, "Wearing_Lipstick": 0.472, "Heavy_Makeup": 0.387, "Wavy_Hair": 0.32,
        "Brown_Hair": 0.205, "Eyeglasses": 0.065, "Wearing_Hat": 0.048, "Bald": 0.022,
        "Pale_Skin": 0.043,
    }.items():  # fmt: skip
        assert share[name] == pytest.approx(expected, abs=0.07), name
    assert all(0 < value < 1 for value in share.values())
    assert not any(a["Male"] and a["Wearing_Lipstick"] for a in named)
    assert not any(not a["Male"] and not a["No_Beard"] for a in named)


# --- files ------------------------------------------------------------------------------------


def test_the_same_collection_is_not_drawn_twice(tmp_path: Path) -> None:
    write_synthetic_celeba(tmp_path, 3, workers=1, progress=False)
    image = tmp_path / "celeba" / "img_align_celeba" / "000001.jpg"
    image.write_bytes(b"touched")
    write_synthetic_celeba(tmp_path, 3, workers=1, progress=False)
    assert image.read_bytes() == b"touched"


def test_an_interrupted_collection_is_incomplete_and_is_drawn_anew(tmp_path: Path) -> None:
    target = "ggl_lightning.data.synthetic.writer.write_lists"
    with patch(target, side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        write_synthetic_celeba(tmp_path, 3, workers=1, progress=False)
    assert json.loads((tmp_path / "celeba" / MARKER_FILE).read_text())["complete"] is False
    with pytest.raises(UserError):
        check_celeba_root(tmp_path)
    write_synthetic_celeba(tmp_path, 3, workers=1, progress=False)
    assert len(check_celeba_root(tmp_path).names) == 3


@pytest.mark.parametrize(
    ("settings_", "named"),
    [
        ({"count": 0}, "count is 0"),
        ({"count": 1_000_000}, "count is 1000000"),
        ({"seed": -1}, "seed is -1"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_bad_numbers_are_named_before_anything_is_written(
    tmp_path: Path, settings_: dict[str, int], named: str
) -> None:
    with pytest.raises(UserError, match=named):
        write_synthetic_celeba(tmp_path / "new", progress=False, **settings_)
    assert not (tmp_path / "new").exists()


def test_other_data_are_never_overwritten(tmp_path: Path) -> None:
    write_synthetic_celeba(tmp_path, 2, seed=1, workers=1, progress=False)
    before = read_images(tmp_path)
    for other in ({"count": 3, "seed": 1}, {"count": 2, "seed": 2}):
        with pytest.raises(UserError, match="already holds other synthetic faces"):
            write_synthetic_celeba(tmp_path, workers=1, progress=False, **other)
    assert read_images(tmp_path) == before
    real = tmp_path / "real"
    (real / "celeba").mkdir(parents=True)
    (real / "celeba" / "list_attr_celeba.txt").write_text("202599\n")
    with pytest.raises(UserError, match="not a collection of synthetic faces"):
        write_synthetic_celeba(real, 2, workers=1, progress=False)


def test_a_root_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"file.*cannot"):
        write_synthetic_celeba(tmp_path / "file" / "root", 2, progress=False)


def test_the_command_writes_a_tree_and_a_contact_sheet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheet.png"
    arguments = ["--root", str(tmp_path), "--count", "2", "--contact_sheet", str(sheet), "--quiet"]
    assert run_command(main, arguments) == 0
    assert "2 synthetic faces" in capsys.readouterr().out
    assert len(check_celeba_root(tmp_path).names) == 2
    with Image.open(sheet) as picture:
        assert picture.size == (8 * 178 * 5 // 8, 6 * 218 * 5 // 8)
    assert run_command(main, ["--root", str(tmp_path), "--count", "0"]) == 2
    assert "count is 0" in capsys.readouterr().err
    missing = ["--contact_sheet", str(tmp_path / "none" / "sheet.png")]
    assert run_command(main, missing) == 2
