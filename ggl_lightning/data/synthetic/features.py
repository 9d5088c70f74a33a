"""Eyes, eyebrows, nose and mouth, painted on the skin's colour at full resolution.

Each function changes ``albedo`` ``(3, 162, 122)`` (the `FACE` window, before lighting) and, where
something glistens, ``gloss`` ``(162, 122)`` (light added after lighting), both in place.
"""

from __future__ import annotations

import numpy as np

from ggl_lightning.data.synthetic.canvas import Array, bump, darken, inside, paint, ramp, to_linear
from ggl_lightning.data.synthetic.scene import Scene
from ggl_lightning.data.synthetic.traits import Person, Photo

_SCLERA = to_linear(226, 219, 214)
_LASH = to_linear(30, 20, 18)
_TEETH = to_linear(236, 230, 218)
_MOUTH_INSIDE = to_linear(70, 24, 26)
_IRIS_RADIUS = 4.7
_EYE_SHADOW = np.array([0.34, 0.22, 0.26], dtype=np.float32)


def eye_opening(person: Person, photo: Photo) -> float:
    """Height of the upper lid above the eye's axis, in pixels; the lower lid has 0.7 of it."""
    squint = 0.12 * max(0.0, photo.smile)
    return person.eye_open * photo.eye_open * (1 - squint)


def mouth_corner(person: Person, photo: Photo) -> tuple[float, float]:
    """Head coordinates of the mouth's corner on the side of positive X."""
    return person.mouth_width * (1 + 0.24 * photo.smile), person.mouth_y - 3.6 * photo.smile


def draw_eyes(albedo: Array, gloss: Array, scene: Scene) -> None:
    """Both eyes: shadow and make-up on the lids, white, iris, pupil, lashes, reflection."""
    p, photo = scene.person, scene.photo
    upper = eye_opening(p, photo)
    lower = 0.7 * p.eye_open * (0.5 + 0.5 * photo.eye_open)
    for side in (-1.0, 1.0):
        window = scene.window(side * p.eye_x, -2, 17, 14)
        u = scene.x[window] * np.float32(side)
        u -= np.float32(p.eye_x)
        v = scene.y[window] + u * np.float32(p.eye_tilt)
        if photo.makeup > 0.25:
            lid = bump(u, v, 1, -4.5, 11, 4.5)
            lid *= np.float32(0.62 * (photo.makeup - 0.2))
            paint(albedo, window, lid, p.skin * _EYE_SHADOW)
        t = u * np.float32(1 / p.eye_width)
        arc = np.float32(1) - t * t
        top = arc * np.float32(-upper)
        from_top = v - top
        from_bottom = arc * np.float32(lower)
        from_bottom -= v
        crease = bump(from_top, u, -3.4, 0.5, 0.9, p.eye_width)
        darken(albedo, window, crease * np.float32(0.42))
        opening = ramp(from_top, -0.7, 0.7)
        opening *= ramp(from_bottom, -0.7, 0.7)
        white = ramp(from_top, -1.5, 3.5)
        white *= np.float32(0.5)
        white += np.float32(0.5)
        paint(albedo, window, opening, _SCLERA[:, None, None] * white)
        gx, gy = photo.gaze_x * side, photo.gaze_y - 0.5
        r = np.hypot(u - np.float32(gx), v - np.float32(gy))
        iris = ramp(r, _IRIS_RADIUS + 0.8, _IRIS_RADIUS - 0.8)
        iris *= opening
        tone = ramp(r, _IRIS_RADIUS + 0.6, 3.2)
        tone *= np.float32(0.75)
        tone += np.float32(0.25)
        tone *= ramp(r, 1.5, 2.9)
        tone *= white
        paint(albedo, window, iris, p.iris[:, None, None] * tone)
        thickness = 0.9 + 0.8 * photo.makeup
        lash = np.abs(from_top + np.float32(0.4 * thickness))
        lash = inside(lash - np.float32(thickness), 0.9)
        lash *= ramp(t, 1.25, 1.0)
        lash *= ramp(t, -1.2, -0.9)
        lash *= np.float32(0.72 + 0.2 * photo.makeup)
        paint(albedo, window, lash, _LASH)
        under = inside(np.abs(from_bottom) - np.float32(0.4), 1.0)
        under *= ramp(np.abs(t), 1.05, 0.8)
        under *= np.float32(0.30 + 0.3 * photo.makeup)
        paint(albedo, window, under, _LASH)
        spark = bump(u, v, gx + 1.6 * side * photo.light[0] + 0.2, gy - 1.6, 1.1, 1.1)
        spark *= opening
        spark *= np.float32(0.85)
        gloss[window] += spark


def draw_brows(albedo: Array, scene: Scene) -> None:
    """Both eyebrows, tapered and arched, a little darker than the hair."""
    p, photo = scene.person, scene.photo
    colour = p.hair * np.float32(0.5) + np.float32(0.5) * to_linear(50, 36, 28)
    height = p.brow_y - photo.brow_raise
    for side in (-1.0, 1.0):
        window = scene.window(side * 19.5, height - 1, 17, 9)
        t = scene.x[window] * np.float32(side / 24)
        t -= np.float32(8 / 24)
        bend = t - np.float32(0.62)
        bend *= bend
        bend *= np.float32(p.brow_arch * 2.6)
        away = scene.y[window] - np.float32(height - 0.6 * p.brow_arch)
        away -= bend
        np.abs(away, out=away)
        away -= (np.float32(1.12) - np.float32(0.75) * t) * np.float32(p.brow_thickness)
        mask = inside(away, 1.3)
        mask *= ramp(t, -0.12, 0.10)
        mask *= ramp(t, 1.12, 0.85)
        mask *= np.float32(0.78 + 0.08 * p.male)
        paint(albedo, window, mask, colour)


def draw_nose(albedo: Array, scene: Scene) -> None:
    """Nostrils, the creases of the wings and the shadow of the tip, away from the light."""
    p, photo = scene.person, scene.photo
    tip = p.nose_tip_y
    window = scene.window(0, tip + 2, 18, 14)
    x, y = scene.x[window], scene.y[window]
    ax = np.abs(x)
    cast = bump(x, y, -7.0 * photo.light[0], tip + 7.5, 8, 4)
    cast *= np.float32(min(0.45, 0.9 * max(0.0, -photo.light[1])) * (1.1 - photo.ambient))
    darken(albedo, window, cast)
    wing = np.hypot(
        ax - np.float32(p.nose_width - 2), (y - np.float32(tip + 2.5)) * np.float32(1.1)
    )
    wing = bump(wing, ax, 4.6, p.nose_width + 2.5, 1.1, 3.0)
    darken(albedo, window, wing * np.float32(0.38))
    nostril = bump(ax, y - ax * np.float32(0.12), 0.55 * p.nose_width, tip + 4.2, 2.6, 1.5)
    nostril *= np.float32(0.78)
    paint(albedo, window, nostril, p.skin * np.float32(0.08))


def draw_mouth(albedo: Array, gloss: Array, scene: Scene) -> None:
    """Lips, teeth and the dark between them, bent by the smile and parted by the opening."""
    p, photo = scene.person, scene.photo
    smile, lift = photo.smile, max(0.0, photo.smile)
    half_width, _ = mouth_corner(p, photo)
    gap = photo.mouth_open * (7.5 + 1.5 * lift)
    window = scene.window(0, p.mouth_y + 3, 26, 19)
    x, y = scene.x[window], scene.y[window]
    u = x * np.float32(1 / half_width)
    b = u * u
    middle = b * np.float32(-5.2 * smile)
    middle += np.float32(p.mouth_y + 1.6 * smile)
    np.subtract(np.float32(1), b, out=b)
    np.maximum(b, np.float32(0), out=b)
    root = np.sqrt(b)
    gap_top = middle - b * np.float32(0.3 * gap)
    gap_bottom = middle + b * np.float32(0.7 * gap)
    bow = bump(u, u, 0, 0, 0.22, 0.22)
    bow *= np.float32(-0.3)
    bow += np.float32(1)
    bow *= root
    bow *= np.float32(p.upper_lip * (1 - 0.28 * lift))
    lip_top = gap_top - bow
    lip_bottom = gap_bottom + (root + b) * np.float32(0.5 * p.lower_lip * (1 - 0.15 * lift))
    edge = 1.5 - 0.7 * photo.lipstick
    lips = ramp(y - lip_top, -edge, edge)
    lips *= ramp(lip_bottom - y, -edge, edge)
    lips *= ramp(np.abs(u), 1.04, 0.92)
    natural = p.skin * np.array([0.86, 0.56, 0.56], dtype=np.float32)
    colour = natural + np.float32(photo.lipstick) * (photo.lip_colour - natural)
    # The upper lip faces down, away from the light.
    tone = ramp(y - middle, -2, 2)
    tone *= np.float32(0.28)
    tone += np.float32(0.72)
    lips *= np.float32(0.8 + 0.2 * photo.lipstick if not p.male else 0.68)
    paint(albedo, window, lips, colour[:, None, None] * tone)
    if gap > 0:
        hole = ramp(y - gap_top, -0.7, 0.7)
        hole *= ramp(gap_bottom - y, -0.7, 0.7)
        hole *= ramp(np.abs(u), 1.0, 0.9)
        paint(albedo, window, hole, _MOUTH_INSIDE)
        teeth_bottom = gap_top + b * np.float32(gap * (0.45 + 0.5 * lift))
        teeth = ramp(teeth_bottom - y, -0.8, 0.8)
        teeth *= hole
        teeth *= ramp(np.abs(u), 1.0, 0.72)
        paint(albedo, window, teeth, _TEETH * np.float32(0.92))
    else:
        line = inside(np.abs(y - middle) - np.float32(0.35), 0.9)
        line *= ramp(np.abs(u), 1.06, 0.9)
        line *= np.float32(0.6)
        paint(albedo, window, line, natural * np.float32(0.18))
    corner = bump(np.abs(u), y, 1.0, p.mouth_y - 3.6 * smile, 0.1, 2.0)
    darken(albedo, window, corner * np.float32(0.35))
    wet = bump(x, y - gap_bottom, 3 * photo.light[0], 0.5 * p.lower_lip, 5, 1.3)
    wet *= np.float32(0.05 + 0.12 * photo.lipstick)
    gloss[window] += wet
