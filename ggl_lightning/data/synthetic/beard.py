"""Facial hair: stubble, moustache, goatee, full beard, sideburns."""

from __future__ import annotations

import numpy as np

from ggl_lightning.data.synthetic.canvas import Array, bump, paint, ramp
from ggl_lightning.data.synthetic.hair import comb
from ggl_lightning.data.synthetic.scene import Scene


def beard_growth(scene: Scene) -> float:
    """Pixels by which a full beard lengthens the chin."""
    return 7.0 * max(0.0, scene.person.beard - 0.5)


def density(scene: Scene, x: Array, y: Array) -> Array | None:
    """How much of the skin facial hair covers, in [0, 1], or None for a clean face."""
    p = scene.person
    if not (p.stubble or p.moustache or p.goatee or p.beard or p.sideburns):
        return None
    ax = np.abs(x)
    mouth = p.mouth_y - 2.0 * max(0.0, scene.photo.smile)
    out = np.zeros_like(x)
    shadow = max(p.beard, 0.55 * p.stubble)
    if shadow:
        # From the ears along the jaw to the chin, over the upper lip, cheeks left free.
        edge = np.float32(52) - ax * np.float32(0.98)
        np.maximum(edge, np.float32(mouth - 11), out=edge)
        jaw = ramp(y - edge, -4, 9)
        jaw *= np.float32(1) - bump(ax, y, 0, mouth + 1, 15, 5)
        jaw *= np.float32(shadow)
        np.maximum(out, jaw, out=out)
    if p.moustache:
        hair = bump(ax, y - ax * np.float32(0.11), 0, mouth - 7.4, 21, 3.4)
        hair *= np.float32(1.7 * p.moustache)
        np.maximum(out, hair, out=out)
    if p.goatee:
        hair = bump(ax, y, 0, mouth + 18, 13, 9)
        sides = bump(ax, y, 19.5, mouth + 6, 4, 10)
        if p.moustache:
            np.maximum(hair, sides, out=hair)
        hair *= np.float32(1.9 * p.goatee)
        np.maximum(out, hair, out=out)
    if p.sideburns:
        hair = ramp(ax, p.cheek_width - 11, p.cheek_width - 5)
        hair *= ramp(y, 26, 14)
        hair *= ramp(y, -14, -4)
        hair *= np.float32(p.sideburns)
        np.maximum(out, hair, out=out)
    np.minimum(out, np.float32(0.96), out=out)
    return out


def draw_beard(albedo: Array, scene: Scene, coverage: Array) -> None:
    """Lays facial hair on the skin's colour, in place.

    Args:
        albedo: Skin colour of the `FACE` window.
        scene: The photo.
        coverage: `density` at full resolution.
    """
    colour = scene.person.hair * np.float32(0.62)
    mask = coverage * comb(scene.x + scene.y * np.float32(0.1), scene.photo.strands)
    np.minimum(mask, np.float32(0.97), out=mask)
    paint(albedo, (slice(None), slice(None)), mask, colour)
