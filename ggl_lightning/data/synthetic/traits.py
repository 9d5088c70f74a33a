"""Who is drawn and how the photo was taken: all random choices, made once, before drawing.

`Person` persists over the photos of one identity; `Photo` is redrawn for each image. Lengths
are pixels of the head coordinates of `pose`, colours are linear light, shares lie in [0, 1].
Frequencies loosely follow CelebA's published attribute frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ggl_lightning.data.synthetic.canvas import Array, to_linear
from ggl_lightning.data.synthetic.pose import Pose

# Identities come in blocks of three people with four photos each, interleaved, so that
# neighbouring files show different people and a split can end between any two blocks.
PEOPLE_PER_BLOCK = 3
PHOTOS_PER_PERSON = 4
BLOCK = PEOPLE_PER_BLOCK * PHOTOS_PER_PERSON

# Pixels by which the temples are bare from which the hairline counts as receding.
RECEDING = 5.5

_FACIAL_HAIR = ("stubble", "moustache", "goatee", "beard", "sideburns")

_PERSON_STREAM, _PHOTO_STREAM = 1, 2

_SKIN = [
    (0.00, to_linear(250, 224, 208)),
    (0.25, to_linear(238, 198, 171)),
    (0.50, to_linear(214, 164, 128)),
    (0.70, to_linear(170, 118, 84)),
    (0.85, to_linear(124, 82, 58)),
    (1.00, to_linear(84, 54, 40)),
]
_HAIR = [
    (0.00, to_linear(22, 19, 20)),
    (0.18, to_linear(40, 30, 26)),
    (0.40, to_linear(84, 56, 38)),
    (0.60, to_linear(138, 98, 62)),
    (0.80, to_linear(202, 162, 104)),
    (1.00, to_linear(234, 208, 160)),
]
_IRIS = [
    to_linear(70, 44, 28),
    to_linear(96, 66, 38),
    to_linear(104, 104, 64),
    to_linear(92, 126, 150),
    to_linear(60, 92, 124),
]


def _along(palette: list[tuple[float, Array]], position: float) -> Array:
    stops = [p for p, _ in palette]
    return np.array(
        [np.interp(position, stops, [c[k] for _, c in palette]) for k in range(3)],
        dtype=np.float32,
    )


@dataclass(frozen=True)
class Person:
    """What stays the same over all photos of one identity."""

    male: bool
    age: float
    skin_tone: float
    skin: Array
    cheek_width: float
    jaw_width: float
    jaw_square: float
    chin_y: float
    fullness: float
    cheekbones: float
    eye_x: float
    eye_width: float
    eye_open: float
    eye_tilt: float
    iris: Array
    brow_y: float
    brow_thickness: float
    brow_arch: float
    nose_width: float
    nose_tip_y: float
    nose_size: float
    mouth_y: float
    mouth_width: float
    upper_lip: float
    lower_lip: float
    bags: float
    hair_shade: float
    red: bool
    gray: float
    hair: Array
    bald: bool
    hair_end_y: float
    hair_side: float
    hair_top: float
    hairline_y: float
    hair_opening: float
    hair_flare: float
    parting: float
    curtain: float
    receding: float
    bangs: bool
    wave: float
    curl: float
    stubble: float
    moustache: float
    goatee: float
    beard: float
    sideburns: float
    glasses: bool
    makeup_habit: float
    earring_habit: float


@dataclass(frozen=True)
class Photo:
    """What changes from photo to photo of the same identity."""

    pose: Pose
    light: Array
    light_colour: Array
    ambient: float
    exposure: float
    balance: Array
    smile: float
    mouth_open: float
    eye_open: float
    brow_raise: float
    gaze_x: float
    gaze_y: float
    makeup: float
    lipstick: float
    lip_colour: Array
    rosy: float
    hat: str
    hat_colour: Array
    glasses: str
    frame_colour: Array
    frame_width: float
    lens_width: float
    lens_height: float
    lens_round: float
    earrings: bool
    necklace: bool
    necktie: bool
    clothes: Array
    shirt: Array
    tie_colour: Array
    neckline: float
    shoulder_y: float
    shoulder_slope: float
    background: Array
    strands: Array
    blurry: bool


def identity_of(index: int) -> int:
    """Identity number (from 1) of the image at ``index`` (from 0)."""
    block, place = divmod(index, BLOCK)
    return block * PEOPLE_PER_BLOCK + place % PEOPLE_PER_BLOCK + 1


class _Dice:
    """A random generator with the few distributions the traits need."""

    def __init__(self, *entropy: int) -> None:
        self.rng = np.random.default_rng(np.random.SeedSequence(entropy))
        # Scalar draws cost a microsecond each; these are more than any description needs.
        self._flat = iter(self.rng.random(128).tolist())
        self._bell = iter(self.rng.standard_normal(64).tolist())

    def unit(self) -> float:
        return next(self._flat)

    def chance(self, probability: float) -> bool:
        return next(self._flat) < probability

    def choice(self, number: int) -> int:
        return int(next(self._flat) * number)

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * next(self._flat)

    def normal(self, mean: float, std: float, low: float, high: float) -> float:
        return min(max(mean + std * next(self._bell), low), high)

    def colour(self, saturation: float, dark: float, bright: float) -> Array:
        """A random colour: brightness in [dark, bright] (sRGB, of 255), hue as it falls."""
        value = self.uniform(dark, bright)
        hue = [self.unit(), self.unit(), self.unit()]
        most = max(hue)
        return to_linear(*(value * (1 - saturation * (most - part)) for part in hue))


@lru_cache(maxsize=256)
def sample_person(seed: int, identity: int) -> Person:
    """The person behind ``identity``; depends on nothing but the two numbers."""
    d = _Dice(seed, _PERSON_STREAM, identity)
    male = d.chance(0.42)
    # Masculinity overlaps between the sexes only a little, so that Male can be learned.
    m = d.normal(0.85, 0.13, 0.5, 1.1) if male else d.normal(0.12, 0.13, -0.1, 0.45)
    age = d.normal(0.40 if male else 0.30, 0.24, 0.0, 1.0)
    tone = d.normal(0.23, 0.10, 0.0, 0.5) if d.chance(0.78) else d.uniform(0.35, 0.95)
    redness = d.normal(0, 0.03, -0.06, 0.07)
    skin = _along(_SKIN, tone) * np.array([1 + redness, 1, 1 - redness], dtype=np.float32)
    fullness = d.normal(0.30 + 0.1 * age, 0.22, 0.0, 1.0)
    hair_colour = _hair_colour(d, male, age, tone)
    haircut = _haircut(d, male, age)
    facial_hair: dict[str, Any] = _facial_hair(d) if male else dict.fromkeys(_FACIAL_HAIR, 0.0)

    return Person(
        male=male,
        age=age,
        skin_tone=tone,
        skin=skin,
        cheek_width=d.normal(44.5 + 1.5 * m, 1.6, 41, 50) + 2.5 * (fullness - 0.3),
        jaw_width=d.normal(0.91 + 0.10 * m, 0.04, 0.8, 1.1) + 0.12 * (fullness - 0.3),
        jaw_square=d.normal(0.12 + 0.35 * m, 0.10, 0.0, 0.7),
        chin_y=d.normal(64 + 4 * m, 2.2, 59, 73),
        fullness=fullness,
        cheekbones=d.normal(0.5, 0.25, 0, 1),
        eye_x=d.normal(19.5, 0.5, 18.3, 20.7),
        eye_width=d.normal(10.0 - 0.3 * m, 0.5, 8.6, 11.3),
        eye_open=d.normal(4.8 - 0.7 * m, 0.6, 2.6, 6.2),
        eye_tilt=d.normal(0.03, 0.06, -0.12, 0.2),
        iris=_IRIS[d.choice(2 if tone > 0.45 else len(_IRIS))],
        brow_y=d.normal(-13.5 + 2.2 * m, 1.2, -17, -8.5),
        brow_thickness=d.normal(1.5 + 1.1 * m, 0.4, 0.9, 3.8),
        brow_arch=d.normal(3.4 - 2.2 * m, 0.9, -0.5, 5.5),
        nose_width=d.normal(7.6 + 1.0 * m + 1.6 * (tone > 0.5), 0.8, 6, 12),
        nose_tip_y=d.normal(24.5 + m, 1.3, 21, 28),
        nose_size=d.normal(0.85 + 0.3 * m, 0.15, 0.5, 1.6),
        mouth_y=d.normal(41, 1.2, 38, 44),
        mouth_width=d.normal(16.2 + 1.0 * m, 1.1, 13.5, 20),
        upper_lip=d.normal(3.4 - 0.8 * m + 0.8 * (tone > 0.5), 0.6, 1.6, 5.5),
        lower_lip=d.normal(5.0 - 0.8 * m + 0.8 * (tone > 0.5), 0.7, 2.8, 7.5),
        bags=d.normal(0.2 + 0.6 * age, 0.18, 0, 1),
        hair_opening=d.normal(-2.5, 1.5, -6, 0) - 2.0 * (haircut["hair_end_y"] > 20),
        glasses=d.chance(0.04 + 0.06 * (age > 0.6)),
        makeup_habit=0.0 if male else d.normal(0.62, 0.27, 0, 1),
        earring_habit=0.03 if male else d.uniform(0, 0.65),
        **hair_colour,
        **haircut,
        **facial_hair,
    )


def _hair_colour(d: _Dice, male: bool, age: float, tone: float) -> dict[str, Any]:
    """The traits of a person's hair colour by name."""
    shade = d.uniform(0, 0.22) if d.chance(0.20) else d.normal(0.50, 0.24, 0.05, 1.0)
    if not male:
        shade = min(1.0, shade + 0.10 * d.chance(0.6))
    if tone > 0.55:
        shade *= 0.25
    gray = 0.0
    if age > 0.58 and d.chance(0.75 if male else 0.45):
        gray = d.normal(2.6 * (age - 0.55), 0.2, 0, 1)
    hair = _along(_HAIR, shade)
    red = shade > 0.3 and d.chance(0.13)
    if red:
        hair = hair * np.array([1.15, 0.62, 0.42], dtype=np.float32)
    gray_colour = to_linear(*([d.uniform(150, 205)] * 3))
    hair = hair + np.float32(gray) * (gray_colour - hair)
    return {"hair_shade": shade, "red": red, "gray": gray, "hair": hair}


def _haircut(d: _Dice, male: bool, age: float) -> dict[str, Any]:
    """The traits of a person's haircut by name."""
    bald = male and d.chance(0.05 + 0.08 * (age > 0.6))
    receding = d.uniform(0, 4) if male else 0.0
    if male and d.chance(0.10 + 0.4 * (age > 0.55)):
        receding = d.uniform(7, 16)
    bangs = not bald and receding < RECEDING and d.chance(0.09 if male else 0.21)
    hairline = d.normal(-42.5, 2.5, -49, -37)
    if bangs:
        hairline = d.uniform(-25, -19)
    wave = d.uniform(2.5, 6.0) if d.chance(0.26 if male else 0.5) else d.uniform(0, 1.2)
    curl = d.uniform(0.3, 1.0) if wave > 2.5 and d.chance(0.4) else 0.0
    parting = d.normal(0, 0.2, -0.42, 0.42)
    flare = curtain = 0.0
    if bald:
        end, side, top = d.uniform(6, 14), d.uniform(0.5, 2.5), 0.0
    elif male and not d.chance(0.09):
        end, side, top = d.uniform(-8, 14), d.uniform(1.5, 6.5), d.uniform(3, 15)
    elif not male and d.chance(0.16):
        # Tied back: close to the head, ears free.
        end, side, top = d.uniform(-2, 10), d.uniform(1.0, 4.0), d.uniform(4, 12)
        wave = min(wave, 1.2)
    else:
        end = d.uniform(30, 62) if d.chance(0.25) else d.uniform(70, 140)
        side, top = d.uniform(6, 15), d.uniform(5, 14)
        flare = d.uniform(-4, 16)
        # Hair that falls to both sides of the parting.
        curtain = d.uniform(8, 20) if not bangs and d.chance(0.6) else 0.0
    return {
        "bald": bald,
        "hair_end_y": end,
        "hair_side": side,
        "hair_top": top,
        "hairline_y": hairline,
        "hair_flare": flare,
        "parting": parting,
        "curtain": curtain,
        "receding": receding,
        "bangs": bangs,
        "wave": wave,
        "curl": curl,
    }


def _facial_hair(d: _Dice) -> dict[str, Any]:
    """The density of a man's stubble and beard by name and place."""
    stubble = moustache = goatee = beard = sideburns = 0.0
    if d.chance(0.27):
        stubble = d.uniform(0.25, 0.6)
    roll = d.unit()
    if roll < 0.095:
        beard = d.uniform(0.6, 0.95)
        moustache, goatee = beard * d.uniform(0.7, 1.0), beard
        sideburns = beard
    elif roll < 0.16:
        goatee = d.uniform(0.6, 0.95)
        moustache = goatee if d.chance(0.5) else 0.0
    elif roll < 0.185:
        moustache = d.uniform(0.6, 0.95)
    if d.chance(0.05):
        sideburns = max(sideburns, d.uniform(0.6, 0.9))
    return dict(zip(_FACIAL_HAIR, (stubble, moustache, goatee, beard, sideburns), strict=True))


def sample_photo(seed: int, index: int, person: Person) -> Photo:
    """The circumstances of image ``index`` (from 0); independent of every other image."""
    d = _Dice(seed, _PHOTO_STREAM, index)
    pose = Pose(
        yaw=d.normal(0, 10, -24, 24),
        pitch=d.normal(0, 6, -14, 14),
        roll=d.normal(0, 2.5, -7, 7),
        scale=d.normal(1.0, 0.03, 0.92, 1.08),
        anchor_x=88.5 + d.normal(0, 1.0, -2.5, 2.5),
        anchor_y=111 + d.normal(0, 1.0, -2.5, 2.5),
        eye_x=person.eye_x,
    )
    azimuth = np.radians(d.normal(0, 36, -70, 70))
    elevation = np.radians(d.normal(28, 15, -5, 60))
    light = np.array(
        [
            np.sin(azimuth) * np.cos(elevation),
            -np.sin(elevation),
            np.cos(azimuth) * np.cos(elevation),
        ],
        dtype=np.float32,
    )
    ambient = d.uniform(0.20, 0.52)
    warmth = d.normal(0.0, 0.05, -0.11, 0.12)
    exposure = d.normal(1.02, 0.16, 0.64, 1.4)
    balance_warmth = d.normal(0.02, 0.05, -0.1, 0.14)

    smile = d.normal(0.78, 0.16, 0.42, 1.1) if d.chance(0.48) else d.normal(0.03, 0.12, -0.3, 0.28)
    smiling = smile > 0.4
    opening = d.uniform(0.35, 1.0) if d.chance(0.70 if smiling else 0.26) else 0.0

    makeup = min(1.0, max(0.0, person.makeup_habit + d.normal(0, 0.12, -0.3, 0.3)))
    lipstick = 0.0
    if not person.male and d.chance(0.25 + 0.85 * makeup):
        lipstick = d.uniform(0.5, 1.0)

    hat = "none"
    if d.chance(0.048):
        hat = ("cap", "beanie", "brim")[d.choice(3)]
    glasses = "none"
    if d.chance(0.85 if person.glasses else 0.012):
        glasses = "clear"
    if d.chance(0.016):
        glasses = "sun"

    muted = d.uniform(0.1, 0.55)
    base = d.colour(muted, 25, 235)
    second = d.colour(muted, 25, 235)
    # Two colours and a low-order spline: a defocused backdrop, never clutter.
    mix = np.clip(d.rng.normal(0.35, 0.38, size=(5, 5)), 0, 1).astype(np.float32)
    background = base[:, None, None] * (1 - mix) + second[:, None, None] * mix
    strands = d.rng.random(513, dtype=np.float32)
    strands[-1] = strands[0]
    tie = person.male and d.chance(0.17)
    return Photo(
        pose=pose,
        light=light,
        light_colour=np.array([1 + warmth, 1, 1 - warmth], dtype=np.float32),
        ambient=ambient,
        exposure=exposure,
        balance=np.array([1 + balance_warmth, 1, 1 - balance_warmth], dtype=np.float32),
        smile=smile,
        mouth_open=opening,
        eye_open=d.normal(1 - 0.15 * smiling, 0.1, 0.5, 1.25),
        brow_raise=d.normal(0, 0.9, -1.5, 2.5),
        gaze_x=d.normal(0, 0.8, -2.2, 2.2) - 0.06 * pose.yaw,
        gaze_y=d.normal(0, 0.35, -0.9, 0.9),
        makeup=makeup,
        lipstick=lipstick,
        lip_colour=to_linear(d.uniform(165, 215), d.uniform(35, 95), d.uniform(55, 110)),
        rosy=d.normal(0.15 + 0.25 * makeup, 0.16, 0, 1),
        hat=hat,
        hat_colour=d.colour(0.6, 30, 220),
        glasses=glasses,
        frame_colour=d.colour(0.4, 12, 70),
        frame_width=d.uniform(0.9, 2.0),
        lens_width=d.uniform(13.5, 16.0),
        lens_height=d.uniform(8.5, 12.0) + 1.5 * (glasses == "sun"),
        lens_round=d.uniform(0.35, 0.95),
        earrings=d.chance(person.earring_habit),
        necklace=d.chance(0.01 if person.male else 0.2),
        necktie=tie,
        clothes=d.colour(0.5, 22, 225) if not tie else d.colour(0.2, 22, 90),
        shirt=d.colour(0.12, 190, 245),
        tie_colour=d.colour(0.7, 40, 190),
        neckline=d.uniform(1, 9) if person.male else d.uniform(4, 26),
        shoulder_y=d.normal(83 if person.male else 87, 3, 77, 95),
        shoulder_slope=d.uniform(0.14, 0.42),
        background=background.astype(np.float32),
        strands=strands,
        blurry=d.chance(0.05),
    )
