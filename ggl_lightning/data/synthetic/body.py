"""Backdrop, neck, shoulders, clothes and jewellery."""

from __future__ import annotations

import numpy as np

from ggl_lightning.data.synthetic.canvas import (
    HEIGHT,
    WIDTH,
    Array,
    Window,
    bump,
    double,
    inside,
    paint,
    ramp,
    smooth_field,
    to_linear,
)
from ggl_lightning.data.synthetic.head import EAR_Y
from ggl_lightning.data.synthetic.scene import FACE, Scene
from ggl_lightning.data.synthetic.traits import Person

# Neck and shoulders live below this row.
_TOP = 140
_BODY: Window = (slice(_TOP, HEIGHT), slice(0, WIDTH))
# No shoulder reaches above this one.
_CHEST_TOP = 164
_CHEST: Window = (slice(_CHEST_TOP, HEIGHT), slice(0, WIDTH))
_CHEST_IN_BODY = slice((_CHEST_TOP - _TOP) // 2 - 1, None)
_ROWS = np.arange(_TOP // 2, HEIGHT // 2, dtype=np.float32)[:, None] * 2 + np.float32(0.5)
_COLUMNS = np.arange(WIDTH // 2, dtype=np.float32)[None, :] * 2 + np.float32(0.5)
# Fullness of the face above which a roll shows below the chin.
DOUBLE_CHIN = 0.66
_GOLD = to_linear(226, 190, 110)


def backdrop(scene: Scene) -> Array:
    """The defocused background, a fresh ``(3, 218, 178)`` image."""
    return smooth_field(scene.photo.background, HEIGHT, WIDTH)


def draw_body(image: Array, scene: Scene, radius: Array) -> None:
    """Neck, chest and clothes, in place.

    Args:
        image: The frame.
        scene: The photo.
        radius: `head.outline` over the half-resolution frame, for the head's shadow.
    """
    x, y = _trunk_coordinates(scene)
    near = (radius[_TOP // 2 :] - np.float32(1)) * np.float32(60)
    light = scene.photo.light
    shade = ramp(near, 30 + 20 * max(0.0, -float(light[1])), 0)
    shade *= np.float32(0.55)
    skin = _draw_neck(image, scene, x, y, near, shade)
    _draw_clothes(image, scene, x[_CHEST_IN_BODY], y[_CHEST_IN_BODY], shade[_CHEST_IN_BODY], skin)


def _trunk_coordinates(scene: Scene) -> tuple[Array, Array]:
    """Like the head's coordinates, for the trunk, which turns less: two half-resolution arrays."""
    pose = scene.photo.pose
    x = (_COLUMNS - np.float32(pose.anchor_x - 0.25 * pose.yaw)) * np.float32(1 / pose.scale)
    y = (_ROWS - np.float32(pose.anchor_y)) * np.float32(1 / pose.scale)
    return x + np.zeros_like(y), y + np.zeros_like(x)


def _neck_width(person: Person) -> float:
    width = (27.0 if person.male else 22.5) + 6 * person.fullness
    return width + 2.5 * (person.jaw_square if person.male else 0)


def _draw_neck(image: Array, scene: Scene, x: Array, y: Array, near: Array, shade: Array) -> Array:
    """Paints the neck; returns the light on its skin over the body's rows. Changes ``shade``."""
    p, photo = scene.person, scene.photo
    neck = _neck_width(p)
    out = np.abs(x) - np.float32(neck)
    # The neck widens smoothly into the shoulders.
    out -= ramp(y, photo.shoulder_y - 16, photo.shoulder_y + 8) * np.float32(7)
    nx = np.clip(x * np.float32(0.8 / neck), -0.9, 0.9)
    key = nx * photo.light[0]
    key += np.sqrt(np.float32(1) - nx * nx) * photo.light[2]
    np.maximum(key + np.float32(0.1), np.float32(0), out=key)
    key *= np.float32(1.1 - photo.ambient)
    key += np.float32(0.9 * photo.ambient)
    if p.fullness > DOUBLE_CHIN:
        # A roll below the chin catches the light and throws a fold of shadow.
        fold = np.float32(min(1.0, 3 * (p.fullness - DOUBLE_CHIN) + 0.4))
        shade -= bump(near, x, 8, 0, 5, 20) * (np.float32(0.35) * fold)
        shade += bump(near, x, 18, 0, 3.5, 16) * (np.float32(0.30) * fold)
    key *= np.float32(1) - shade
    out, skin = double(np.stack([out, key]))
    paint(image, _BODY, inside(out, 1.0), p.skin[:, None, None] * skin)
    return skin


def _draw_clothes(
    image: Array, scene: Scene, x: Array, y: Array, shade: Array, skin: Array
) -> None:
    """Paints chest, clothes, tie and necklace over the neck."""
    p, photo = scene.person, scene.photo
    neck = _neck_width(p)
    shoulder = y - np.float32(photo.shoulder_y)
    slope = np.maximum(np.abs(x) - np.float32(neck), np.float32(0))
    slope *= np.float32(photo.shoulder_slope)
    shoulder -= slope
    neckline = np.hypot(
        x * np.float32(1 / (neck + 6)),
        (y - np.float32(photo.shoulder_y + 2)) * np.float32(1 / (photo.neckline + 3)),
    )
    open_neck = ramp(neckline, 1.08, 0.96)
    bx = np.clip(x * np.float32(1 / 110), -0.9, 0.9)
    cloth = bx * photo.light[0]
    cloth += np.sqrt(np.float32(1) - bx * bx) * np.float32(0.75 * photo.light[2] + 0.1)
    np.maximum(cloth, np.float32(0), out=cloth)
    cloth *= np.float32(1.1 - photo.ambient)
    cloth += np.float32(photo.ambient)
    cloth *= np.float32(1) - shade * np.float32(0.6)
    cloth *= np.float32(1) + np.sin(x * np.float32(0.11) + y * np.float32(0.06)) * np.float32(0.07)

    # One row more above, so that doubling sees the same neighbours as in the whole frame.
    layers = double(np.stack([shoulder, open_neck, cloth, x, y]))[:, 2:]
    shoulder, open_neck, cloth, x, y = layers
    torso = inside(-shoulder, 1.2)
    chest = p.skin[:, None, None] * skin[_CHEST_TOP - _TOP :]
    paint(image, _CHEST, torso * open_neck, chest)
    clothes = torso * (np.float32(1) - open_neck)
    paint(image, _CHEST, clothes, photo.clothes[:, None, None] * cloth)
    ax, down = np.abs(x), y - np.float32(photo.shoulder_y)
    if photo.necktie:
        collar = inside(ax - np.float32(neck + 4) + down * np.float32(1.0), 1.0) * torso
        paint(image, _CHEST, collar, photo.shirt[:, None, None] * cloth)
        tie = inside(ax - np.float32(5.5) - down * np.float32(0.08), 1.0)
        tie *= ramp(down, -2, 2)
        paint(image, _CHEST, tie, photo.tie_colour[:, None, None] * cloth)
    if photo.necklace:
        line = y - np.float32(photo.shoulder_y + 4)
        line += x * x * np.float32(0.016)
        chain = inside(np.abs(line) - np.float32(0.6), 1.0)
        chain *= inside(ax - np.float32(neck + 2), 1.0)
        paint(image, _CHEST, chain, _GOLD)


def draw_ears(image: Array, scene: Scene) -> None:
    """Both ears, behind the face and below the hair, in place."""
    p, photo = scene.person, scene.photo
    for side in (-1.0, 1.0):
        window = scene.window(side * (p.cheek_width + 1), EAR_Y, 11, 18)
        x = scene.x[window] * np.float32(side) - np.float32(p.cheek_width + 1)
        y = scene.y[window] - np.float32(EAR_Y)
        r = np.hypot(x * np.float32(1 / 6.5), y * np.float32(1 / 14) + x * np.float32(0.02))
        level = photo.ambient + (1.1 - photo.ambient) * max(
            0.1, 0.6 * side * float(photo.light[0]) + 0.6 * float(photo.light[2])
        )
        tone = np.float32(level) * (np.float32(1) - bump(x, y, 1, 0, 3.5, 8) * np.float32(0.45))
        colour = p.skin * np.array([1.0, 0.86, 0.84], dtype=np.float32)
        target = (
            slice(window[0].start + FACE[0].start, window[0].stop + FACE[0].start),
            slice(window[1].start + FACE[1].start, window[1].stop + FACE[1].start),
        )
        paint(image, target, ramp(r, 1.1, 0.9), colour[:, None, None] * tone)


def draw_earrings(image: Array, scene: Scene) -> None:
    """A bright drop below each ear, in place."""
    p, photo = scene.person, scene.photo
    if not photo.earrings:
        return
    for side in (-1.0, 1.0):
        window = scene.window(side * (p.cheek_width + 1), EAR_Y + 17, 6, 8)
        x = scene.x[window] * np.float32(side) - np.float32(p.cheek_width + 1)
        y = scene.y[window] - np.float32(EAR_Y + 17)
        target = (
            slice(window[0].start + FACE[0].start, window[0].stop + FACE[0].start),
            slice(window[1].start + FACE[1].start, window[1].stop + FACE[1].start),
        )
        r = np.hypot(x * np.float32(1 / 2.2), y * np.float32(1 / 3.6))
        paint(image, target, ramp(r, 1.2, 0.8), _GOLD)
