"""Loss curves, strengths, thumbnails and the drawings made of them."""

import base64
import io
import os
import re
import signal
import threading

import numpy as np
import pytest
from PIL import Image

from ggl_lightning.audit.report.estimates import (
    Estimate,
    format_duration,
    format_number,
    format_significant,
)
from ggl_lightning.audit.report.figures.identification import draw_identification
from ggl_lightning.audit.report.figures.loss_curves import POINTS, draw_loss_curves
from ggl_lightning.audit.report.figures.reliability import draw_reliability
from ggl_lightning.audit.report.groups import Group
from ggl_lightning.audit.report.losses import LossCurve, NoCurveError, read_curve
from ggl_lightning.audit.report.palette import HUES, Palette
from ggl_lightning.audit.report.strengths import find_sweeps
from ggl_lightning.audit.report.thumbnails import NoPictureError, make_thumbnail
from ggl_lightning.metrics import identification_bound
from tests.audit.result_rows import case

HEADER = "trial,round,evaluations,loss_mean,loss_min,loss_best\n"


def curve_of(tmp_path, lines):
    (tmp_path / "losses.csv").write_text(HEADER + "".join(f"{line}\n" for line in lines))
    return read_curve(tmp_path / "losses.csv")


def test_a_curve_is_the_lowest_loss_over_all_trials(tmp_path):
    curve = curve_of(tmp_path, ["0,1,10,9,5,5", "0,2,20,9,3,3", "1,1,10,9,4,4", "1,2,20,9,1,1"])
    assert curve.evaluations.tolist() == [10, 20, 30, 40]
    assert curve.losses.tolist() == [5, 3, 3, 1]
    assert curve.at(np.array([10, 19, 20, 40, 99])).tolist() == [5, 5, 3, 1, 1]
    assert np.isnan(curve.at(np.array([9])))[0]


def test_evaluations_that_already_count_on_are_left_alone(tmp_path):
    curve = curve_of(tmp_path, ["0,1,10,9,5,5", "1,1,20,9,4,4"])
    assert curve.evaluations.tolist() == [10, 20]


def test_losses_that_are_no_numbers_are_skipped(tmp_path):
    curve = curve_of(tmp_path, ["0,1,10,nan,nan,nan", "0,2,20,9,4,4", "0,3,30,inf,inf,inf"])
    assert curve.evaluations.tolist() == [20]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no losses.csv"),
        ("", "not a table of losses"),
        ("a,b\n1,2\n", "not a table of losses"),
        (HEADER + "0,1,many,1,1,1\n", "not a table of losses"),
        (HEADER + "0,1\n", "not a table of losses"),
        (HEADER, "no finite loss"),
        (HEADER + "0,1,10,nan,nan,nan\n", "no finite loss"),
    ],
)
def test_a_missing_curve_has_a_reason(tmp_path, content, reason):
    if content is not None:
        (tmp_path / "losses.csv").write_text(content)
    with pytest.raises(NoCurveError, match=reason):
        read_curve(tmp_path / "losses.csv")


def test_many_long_curves_make_a_small_figure_with_the_median():
    generator = np.random.default_rng(0)
    ends = generator.uniform(1, 2, size=301)
    steps = np.arange(1, 5001) * 50.0
    curves = [LossCurve(steps, end + 1000 / steps) for end in ends]
    palette = Palette(["none"], ["cma"], {})
    figure = draw_loss_curves("cma", {"none": curves}, palette, "losses-1")
    assert len(figure) < 48 * POINTS * 40
    median = np.median([curve.losses[-1] for curve in curves])
    assert f"none reaches a median of {median:.2f}." in figure


def parse(figure):
    return re.findall(r"(?:stroke|fill): (#[0-9a-f]{6})", figure)


def test_figures_have_no_colours_of_their_own():
    """Every colour is a variable of the page, which has values for light and for dark."""
    curves = [LossCurve(np.array([1.0, 2.0]), np.array([2.0, y])) for y in (1.0, 1.5)]
    names = [f"d{i}" for i in range(HUES + 1)]
    palette = Palette(names, ["cma"], {})
    figure = draw_loss_curves("cma", dict.fromkeys(names, curves), palette, "losses-1")
    assert parse(figure) == []
    assert {f"--hue-{i + 1}" for i in range(HUES)} <= set(re.findall(r"--hue-\d", figure))


def test_each_defense_and_attack_looks_different():
    defenses = ["none", *(f"d{i}" for i in range(2 * HUES))]
    attacks = [f"a{i}" for i in range(8)]
    palette = Palette(defenses, attacks, {"none": {"class": "x.NoDefense"}})
    looks = {(palette.color(d), palette.filled(d)) for d in defenses}
    assert len(looks) == len(defenses)
    assert palette.css("none") == "var(--ink)"
    assert len({palette.marker(attack) for attack in attacks}) == len(attacks)


def group(name, attack="cma", **parameters):
    entry = {"defense": name, "attack": attack, "defense_parameters": parameters}
    return Group(entry, "psnr")


def test_sweeps_vary_one_parameter_of_one_class():
    groups = [
        group("high", std=0.1, **{"class": "m.Noise"}),
        group("low", std=0.01, **{"class": "m.Noise"}),
        group("low", "adam", std=0.01, **{"class": "m.Noise"}),
        group("high", "adam", std=0.1, **{"class": "m.Noise"}),
        group("clip", bound=4, **{"class": "m.Clipping"}),
        group("dp1", clip=1, noise=1, **{"class": "m.DP"}),
        group("dp2", clip=1, noise=2, **{"class": "m.DP"}),
        group("dp3", clip=2, noise=3, **{"class": "m.DP"}),
        group("named", mode="a", **{"class": "m.Mode"}),
        group("named2", mode="b", **{"class": "m.Mode"}),
        group("none", **{"class": "m.NoDefense"}),
    ]
    found = {(s.defense_class, s.parameter): s.lines for s in find_sweeps(groups)}
    assert set(found) == {("Noise", "std"), ("DP", "noise")}
    noise = [[(g.defense, g.attack) for g in line] for line in found["Noise", "std"]]
    assert noise == [[("low", a), ("high", a)] for a in ("cma", "adam")]
    assert [[g.defense for g in line] for line in found["DP", "noise"]] == [["dp1", "dp2"]]


def identified(defense, noise, **rates):
    """A group whose private images are identified at a rate by what is named."""
    entries = {
        by: {
            "decoys": 9,
            "top1": {"rate": rate, "low": 0.0, "high": 1.0, "count": 5, "chance": 0.1},
        }
        for by, rate in rates.items()
    }
    multiplier = {"missing": "no noise"}
    if noise is not None:
        multiplier = {"value": noise}
        for entry in entries.values():
            entry["top1"]["mechanism_bound"] = identification_bound(noise, 9)
    entry = {
        "defense": defense,
        "attack": "cma",
        "identification": entries,
        "noise_multiplier": multiplier,
    }
    return Group(entry, "psnr")


def test_identification_is_drawn_beside_the_bound_only_where_there_is_one():
    palette = Palette(["none", "dp", "strong"], ["cma"], {})
    assert draw_identification([identified("none", None, update=1.0)], palette) is None
    assert draw_identification([identified("dp", 2.0)], palette) is None
    groups = [
        identified("none", None, update=1.0),
        identified("dp", 1.0, pixel=0.2, update=0.4),
        identified("strong", 5.0, pixel=0.1, update=0.0),
    ]
    said = str(draw_identification(groups, palette))
    assert "dp under cma: 40.0% of at most 38.9% at 1.00" in said
    assert "strong under cma: 10.0% of at most 14.0% at 5.00" in said
    assert "none under cma" not in said


def pixels(thumbnail):
    encoded = thumbnail.uri.partition("base64,")[2]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))


def test_small_pictures_keep_every_pixel(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, size=(32, 64, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    thumbnail = make_thumbnail(tmp_path / "a.png")
    assert thumbnail.exact
    assert np.array_equal(pixels(thumbnail), values)


def test_large_pictures_are_scaled_down_in_proportion(tmp_path):
    Image.new("RGB", (600, 300), (200, 30, 60)).save(tmp_path / "a.png")
    thumbnail = make_thumbnail(tmp_path / "a.png")
    shown = pixels(thumbnail)
    assert not thumbnail.exact
    assert shown.shape == (64, 128, 3)
    assert np.abs(shown.astype(int) - (200, 30, 60)).max() <= 6


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "no a.png"), (b"<script>", "not a picture"), (b"", "not a")]
)
def test_a_picture_that_cannot_be_shown_has_a_reason(tmp_path, content, reason):
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(NoPictureError, match=reason):
        make_thumbnail(tmp_path / "a.png")


def test_numbers_are_written_for_readers():
    minus, dash = "\N{MINUS SIGN}", "\N{EN DASH}"
    assert format_number(-0.004, 2) == "0.00"
    assert format_number(-1.25, 1) == f"{minus}1.2"
    assert format_number(0.125, 1, percent=True) == "12.5%"
    assert Estimate(1, 0.25, 0.5).format_interval(2) == f"0.25{dash}0.50"
    assert Estimate(1, 0.25, 0.5).format_interval(0, percent=True) == f"25{dash}50%"
    assert Estimate(1, -0.25, 0.5).format_interval(2) == f"{minus}0.25 to 0.50"
    assert Estimate(1).format_interval(2) == "\N{EM DASH}"
    assert format_significant(0.0123456) == "0.0123"
    assert format_significant(1234.5) == "1234"
    assert format_significant(1.5e-9, 2) == f"1.5e{minus}09"
    assert [format_duration(s) for s in (2.54, 59.96, 61, 3600, 200_000)] == [
        "2.5 s",
        "60.0 s",
        "1 min 1 s",
        "1 h 0 min",
        "2 d 7 h",
    ]


def test_reliability_compares_what_attacks_expected_with_what_came(tmp_path):
    rows = [
        case(image=i, attack="learned", mse=4 / 10**2, predicted_mse=4 / 10 ** (1.9 - 0.1 * i))
        for i in range(3)
    ]
    silent = [case(image=i, attack="cma", mse=0.1, predicted_mse=None) for i in range(2)]
    null = case(role="null_noise", attack="learned", mse=0.3, predicted_mse=0.2)
    palette = Palette(["none"], ["learned", "cma"], {"none": {}})
    drawn = str(draw_reliability([*rows, *silent, null], palette))
    # 20 dB came where 19, 18 and 17 were expected.
    assert "better than expected by 2.00 dB in the mean, and off by 2.00 dB, over 3 cases" in drawn
    assert draw_reliability(silent, palette) is None


def test_a_signal_that_comes_while_curves_are_read_is_for_the_audit(tmp_path):
    """An audit that is told to end ends as it says, also while it writes its report."""
    lines = "".join(f"0,{i},{i},1,1,1\n" for i in range(300_000))
    (tmp_path / "losses.csv").write_text(HEADER + lines)
    told = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    try:
        for delay in (0.0005, 0.002, 0.005, 0.01):
            timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGTERM))
            timer.start()
            curve = read_curve(tmp_path / "losses.csv")
            timer.join()
            assert curve.losses[-1] == 1
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told == [signal.SIGTERM] * 4
