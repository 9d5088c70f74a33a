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

# Neck and shoulders live below this row.
_TOP = 140
_BODY: Window = (slice(_TOP, HEIGHT), slice(0, WIDTH))
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
    p, photo = scene.person, scene.photo
    pose = photo.pose
    # The trunk turns less than the head.
    x = (_COLUMNS - np.float32(pose.anchor_x - 0.25 * pose.yaw)) * np.float32(1 / pose.scale)
    y = (_ROWS - np.float32(pose.anchor_y)) * np.float32(1 / pose.scale)
    x = x + np.zeros_like(y)
    y = y + np.zeros_like(x)
    ax = np.abs(x)
    neck = (27.0 if p.male else 22.5) + 6 * p.fullness + 2.5 * (p.jaw_square if p.male else 0)
    out = ax - np.float32(neck)
    shoulder = y - np.float32(photo.shoulder_y)
    slope = np.maximum(out, np.float32(0))
    slope *= np.float32(photo.shoulder_slope)
    shoulder -= slope
    # The neck widens smoothly into the shoulders.
    out -= ramp(y, photo.shoulder_y - 16, photo.shoulder_y + 8) * np.float32(7)

    nx = np.clip(x * np.float32(0.8 / neck), -0.9, 0.9)
    key = nx * photo.light[0]
    key += np.sqrt(np.float32(1) - nx * nx) * photo.light[2]
    np.maximum(key + np.float32(0.1), np.float32(0), out=key)
    key *= np.float32(1.1 - photo.ambient)
    key += np.float32(0.9 * photo.ambient)
    near = (radius[_TOP // 2 :] - np.float32(1)) * np.float32(60)
    shade = ramp(near, 30 + 20 * max(0.0, -float(photo.light[1])), 0)
    shade *= np.float32(0.55)
    if p.fullness > DOUBLE_CHIN:
        # A roll below the chin catches the light and throws a fold of shadow.
        fold = np.float32(min(1.0, 3 * (p.fullness - DOUBLE_CHIN) + 0.4))
        shade -= bump(near, x, 8, 0, 5, 20) * (np.float32(0.35) * fold)
        shade += bump(near, x, 18, 0, 3.5, 16) * (np.float32(0.30) * fold)
    skin = key * (np.float32(1) - shade)

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

    layers = double(np.stack([out, shoulder, skin, open_neck, cloth]))
    out, shoulder, skin, open_neck, cloth = layers
    paint(image, _BODY, inside(out, 1.0), p.skin[:, None, None] * skin)
    torso = inside(-shoulder, 1.2)
    paint(image, _BODY, torso * open_neck, p.skin[:, None, None] * skin)
    clothes = torso * (np.float32(1) - open_neck)
    paint(image, _BODY, clothes, photo.clothes[:, None, None] * cloth)
    if photo.necktie:
        full_x, full_y = double(np.stack([x, y]))
        full_ax = np.abs(full_x)
        down = full_y - np.float32(photo.shoulder_y)
        collar = inside(full_ax - np.float32(neck + 4) + down * np.float32(1.0), 1.0) * torso
        paint(image, _BODY, collar, photo.shirt[:, None, None] * cloth)
        tie = inside(full_ax - np.float32(5.5) - down * np.float32(0.08), 1.0)
        tie *= ramp(down, -2, 2)
        paint(image, _BODY, tie, photo.tie_colour[:, None, None] * cloth)
    if photo.necklace:
        full_x, full_y = double(np.stack([x, y]))
        line = full_y - np.float32(photo.shoulder_y + 4)
        line += full_x * full_x * np.float32(0.016)
        chain = inside(np.abs(line) - np.float32(0.6), 1.0)
        chain *= inside(np.abs(full_x) - np.float32(neck + 2), 1.0)
        paint(image, _BODY, chain, _GOLD)


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
