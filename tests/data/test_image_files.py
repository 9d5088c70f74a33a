"""Every kind of picture comes out with the colours and the orientation that people see."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from ggl_lightning.data.image_files import check_image, open_image
from ggl_lightning.errors import UserError

RAMP = np.arange(65536, dtype=np.uint16).reshape(256, 256)
SCALED = np.rint(RAMP / 257).astype(np.uint8)  # 65535 = 255 * 257
COLOURS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def read(path: Path) -> np.ndarray:
    check_image(path)
    image = open_image(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=-1)


def tiff(path: Path, values: np.ndarray, order: str = "<", **tags: int) -> Path:
    """A bare TIFF file of one strip, tags as in TIFF 6.0."""
    data = values.tobytes()
    fields = {
        "width": (256, values.shape[1]),
        "height": (257, values.shape[0]),
        "bits": (258, values.dtype.itemsize * 8),
        "compression": (259, 1),
        "photometric": (262, 1),
        "offset": (273, 8),
        "orientation": (274, 1),
        "samples": (277, 1),
        "rows": (278, values.shape[0]),
        "bytes": (279, len(data)),
        "sample_format": (339, 1),
    }
    entries = [(tag, tags.get(name, value)) for name, (tag, value) in fields.items()]
    table = b"".join(struct.pack(f"{order}HHIHH", tag, 3, 1, v, 0) for tag, v in entries)
    magic = b"II" if order == "<" else b"MM"
    path.write_bytes(
        magic
        + struct.pack(f"{order}HI", 42, 8 + len(data))
        + data
        + struct.pack(f"{order}H", len(entries))
        + table
        + bytes(4)
    )
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.tif", {}),
        ("a.tif", {"compression": "tiff_lzw"}),
        ("a.pgm", {}),
    ],
)
def test_sixteen_bits_are_scaled_to_eight(tmp_path, name, options):
    Image.fromarray(RAMP).save(tmp_path / name, **options)
    np.testing.assert_array_equal(read(tmp_path / name), grey(SCALED))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", [0, 1])
def test_a_tiff_file_says_which_end_is_white(tmp_path, order, photometric):
    values = RAMP[::2, ::2].astype(f"{order}u2")
    if order == ">" and photometric == 0:
        tiff(tmp_path / "a.tif", values, order, photometric=photometric)
        with pytest.raises(UserError, match=r"cannot read the image .*a\.tif"):  # nor does Pillow
            open_image(tmp_path / "a.tif")
        return
    found = read(tiff(tmp_path / "a.tif", values, order, photometric=photometric))
    expected = SCALED[::2, ::2]
    np.testing.assert_array_equal(found, grey(expected if photometric else 255 - expected))


def test_a_tiff_file_of_twelve_bits_is_white_at_4095(tmp_path):
    # Two numbers in three bytes: 0x000 and 0xFFF, 0x800 and 0x010.
    packed = np.array([[0x00, 0x0F, 0xFF], [0x80, 0x00, 0x10]], np.uint8)
    path = tiff(tmp_path / "a.tif", packed, width=2, bits=12)
    np.testing.assert_array_equal(read(path), grey(np.array([[0, 255], [128, 1]], np.uint8)))


def test_a_grey_map_is_scaled_by_the_largest_value_it_announces(tmp_path):
    values = np.array([[0, 1023, 4092]], ">u2")
    (tmp_path / "a.pgm").write_bytes(b"P5 3 1 4092\n" + values.tobytes())
    np.testing.assert_array_equal(read(tmp_path / "a.pgm"), grey(np.array([[0, 64, 255]])))
    (tmp_path / "b.pgm").write_bytes(b"P2 3 1 15 0 5 15\n")
    np.testing.assert_array_equal(read(tmp_path / "b.pgm"), grey(np.array([[0, 85, 255]])))


@pytest.mark.parametrize(
    ("values", "tags"),
    [
        (np.zeros((2, 2), "<f4"), {"sample_format": 3}),
        (np.zeros((2, 2), "<u4"), {}),
        (np.zeros((2, 2), "<i4"), {"sample_format": 2}),
        (np.zeros((2, 2), "<i2"), {"sample_format": 2}),
        (np.zeros((2, 2), "<i1"), {"sample_format": 2}),
    ],
)
def test_numbers_without_a_black_and_a_white_are_refused_by_file_name(tmp_path, values, tags):
    path = tiff(tmp_path / "a.tif", values, **tags)
    for look in (open_image, check_image):
        with pytest.raises(UserError, match=r"cannot read the image .*a\.tif: it holds .*numbers"):
            look(path)
    (tmp_path / "a.pfm").write_bytes(b"Pf\n2 2\n-1.0\n" + np.zeros(4, "<f4").tobytes())
    with pytest.raises(UserError, match=r"a\.pfm: it holds floating-point numbers"):
        open_image(tmp_path / "a.pfm")


def test_eight_bits_are_left_as_the_decoder_gives_them(tmp_path):
    Image.fromarray(COLOURS).resize((178, 218)).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        decoded = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(read(tmp_path / "a.jpg"), decoded)
    for name in ("a.png", "a.tif", "a.bmp", "a.ppm"):
        Image.fromarray(COLOURS).save(tmp_path / name)
        np.testing.assert_array_equal(read(tmp_path / name), COLOURS)
    for name in ("b.png", "b.tif", "b.bmp", "b.pgm"):
        Image.fromarray(COLOURS[..., 0]).save(tmp_path / name)
        np.testing.assert_array_equal(read(tmp_path / name), grey(COLOURS[..., 0]))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pbm"])
def test_one_bit_is_black_and_white(tmp_path, name):
    bits = COLOURS[..., 0] > 127
    Image.fromarray(bits).save(tmp_path / name)
    np.testing.assert_array_equal(read(tmp_path / name), grey(bits * np.uint8(255)))


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return colours * share + 255 * (1 - share)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_transparent_pixels_are_seen_on_white(tmp_path, name):
    alpha = np.linspace(0, 255, 54).astype(np.uint8).reshape(6, 9)
    image = Image.fromarray(np.dstack([COLOURS, alpha]))
    image.save(tmp_path / name, **({"lossless": True, "exact": True} if "webp" in name else {}))
    np.testing.assert_allclose(read(tmp_path / name), on_white(COLOURS, alpha), atol=1)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_transparent_grey_is_seen_on_white(tmp_path, name):
    alpha = np.linspace(0, 255, 54).astype(np.uint8).reshape(6, 9)
    Image.fromarray(np.dstack([COLOURS[..., 0], alpha])).save(tmp_path / name)
    np.testing.assert_allclose(
        read(tmp_path / name), on_white(grey(COLOURS[..., 0]), alpha), atol=1
    )


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.tif"])
def test_palettes_with_and_without_a_transparent_entry(tmp_path, name):
    palette = [10, 20, 30, 200, 100, 50]
    image = Image.new("P", (2, 1))
    image.putpalette(palette)
    image.putpixel((1, 0), 1)
    image.save(tmp_path / name)
    np.testing.assert_array_equal(read(tmp_path / name), [[palette[:3], palette[3:]]])
    if name != "a.tif":  # which has no transparent entry
        image.save(tmp_path / name, transparency=1)
        np.testing.assert_array_equal(read(tmp_path / name), [[palette[:3], [255] * 3]])


def test_a_transparent_colour_of_a_png_without_palette(tmp_path):
    pixels = np.array([[[10, 20, 30], [200, 100, 50]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", transparency=(200, 100, 50))
    np.testing.assert_array_equal(read(tmp_path / "a.png"), [[[10, 20, 30], [255] * 3]])
    Image.fromarray(pixels[..., 0]).save(tmp_path / "a.png", transparency=10)
    np.testing.assert_array_equal(read(tmp_path / "a.png"), [[[255] * 3, [200] * 3]])
    Image.fromarray(pixels[..., 0].astype(np.uint16)).save(tmp_path / "a.png", transparency=10)
    with pytest.raises(UserError, match=r"a\.png: it has 16 bits and a transparent colour"):
        open_image(tmp_path / "a.png")


def test_a_picture_in_which_nothing_can_be_seen_is_refused(tmp_path):
    Image.fromarray(np.dstack([COLOURS, np.zeros((6, 9), np.uint8)])).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png: every pixel is transparent"):
        open_image(tmp_path / "a.png")


def test_inks_are_what_light_they_leave(tmp_path):
    cmyk = np.dstack([COLOURS, COLOURS[..., 0]])
    Image.fromarray(cmyk, mode="CMYK").save(tmp_path / "a.tif")
    expected = (255 - COLOURS.astype(float)) * (255 - cmyk[..., 3:]) / 255
    np.testing.assert_allclose(read(tmp_path / "a.tif"), expected, atol=1)


def test_luma_and_chroma(tmp_path):
    Image.fromarray(COLOURS, mode="YCbCr").save(tmp_path / "a.tif", compression="raw")
    y, blue, red = (COLOURS[..., i].astype(float) - (128 if i else 0) for i in range(3))
    # ITU-T T.871 (JFIF), section 7.
    expected = [y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue]
    found = read(tmp_path / "a.tif")
    np.testing.assert_allclose(found, np.clip(np.stack(expected, -1), 0, 255), atol=1)


def test_lab_is_converted_by_its_definition(tmp_path):
    # CIE 15: L* of a grey is 116 Y^(1/3) - 16; sRGB's curve makes 0.5 of Y 0.214.
    level = 0.5
    luminance = ((level + 0.055) / 1.055) ** 2.4
    lightness = round((116 * luminance ** (1 / 3) - 16) * 255 / 100)
    Image.new("LAB", (4, 4), (lightness, 128, 128)).save(tmp_path / "a.tif")
    np.testing.assert_allclose(read(tmp_path / "a.tif"), round(255 * level), atol=1)
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    ImageCms.applyTransform(Image.new("RGB", (4, 4), (180, 60, 90)), to_lab).save(
        tmp_path / "b.tif"
    )
    np.testing.assert_allclose(read(tmp_path / "b.tif")[0, 0], [180, 60, 90], atol=2)


# What is seen of stored pixels: EXIF 2.32, tag 0x0112, says where row 0 and column 0 are.
ORIENTATIONS = {
    1: lambda a: a,  # top, left
    2: lambda a: a[:, ::-1],  # top, right
    3: lambda a: a[::-1, ::-1],  # bottom, right
    4: lambda a: a[::-1],  # bottom, left
    5: lambda a: a.swapaxes(0, 1),  # left, top
    6: lambda a: a[::-1].swapaxes(0, 1),  # right, top
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),  # right, bottom
    8: lambda a: a[:, ::-1].swapaxes(0, 1),  # left, bottom
}


@pytest.mark.parametrize("orientation", [*ORIENTATIONS, 0, 9])
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.webp"])
def test_pictures_are_upright(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored = np.kron(COLOURS, np.ones((16, 16, 1), np.uint8))
    lossless = {"lossless": True} if name == "a.webp" else {}
    Image.fromarray(stored).save(tmp_path / name, **lossless)
    plain = read(tmp_path / name)
    Image.fromarray(stored).save(tmp_path / name, exif=exif, **lossless)
    expected = ORIENTATIONS.get(orientation, ORIENTATIONS[1])(plain)
    np.testing.assert_array_equal(read(tmp_path / name), expected)


def test_sixteen_bits_are_turned_too(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(RAMP[:100]).save(tmp_path / "a.png", exif=exif)
    expected = ORIENTATIONS[6](grey(SCALED[:100]))
    np.testing.assert_array_equal(read(tmp_path / "a.png"), expected)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("values", [RAMP[:100].astype("<u2"), COLOURS[..., 0]])
def test_uncompressed_grey_that_lies_on_its_side(tmp_path, orientation, values):
    plain = read(tiff(tmp_path / "a.tif", values))
    path = tiff(tmp_path / "b.tif", values, orientation=orientation)
    np.testing.assert_array_equal(read(path), ORIENTATIONS[orientation](plain))


def test_damaged_exif_data_turn_nothing(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "a.jpg")
    plain = read(tmp_path / "a.jpg")
    Image.fromarray(COLOURS).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff")
    np.testing.assert_array_equal(read(tmp_path / "a.jpg"), plain)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.tif", "a.webp"])
def test_of_several_pictures_in_a_file_the_first_is_read(tmp_path, name):
    first, second = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    options = {"lossless": True} if name == "a.webp" else {}
    first.save(tmp_path / name, save_all=True, append_images=[second], **options)
    np.testing.assert_array_equal(read(tmp_path / name)[0, 0], [255, 0, 0])
