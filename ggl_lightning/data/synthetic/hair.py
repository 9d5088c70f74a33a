"""Scalp hair and hats: masks as signed distances in head coordinates, strands and sheen."""

from __future__ import annotations

from dataclasses import dataclass

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
)
from ggl_lightning.data.synthetic.scene import FULL, Scene

_CENTRE_Y = -6.0
_HAT_BRIM_Y = -27.0


# What short hair can reach, at half and at full resolution.
_SHORT_HALF: Window = (slice(6, 76), slice(7, 82))
_SHORT: Window = (slice(12, 152), slice(14, 164))
_ALL_HALF: Window = (slice(0, HEIGHT // 2), slice(0, WIDTH // 2))


@dataclass
class Hair:
    """Hair of one photo.

    Attributes:
        opening: Signed distance to the face's opening in the hair, negative over the face, over
            the half-resolution frame.
        half: Window of the half-resolution frame that the hair is in.
        window: The same window of the frame.
        distance: Signed distance to the whole mass of hair over ``half``, negative inside.
        colour: Lit colour over ``window``, channels first.
        strands: Strand texture around 1 over ``window``.
    """

    opening: Array
    half: Window
    window: Window
    distance: Array
    colour: Array
    strands: Array


def build_hair(scene: Scene) -> Hair:
    """Shapes, combs and lights the hair."""
    p, photo = scene.person, scene.photo
    opening = _opening(scene, scene.half_x, scene.half_y)
    long_hair = p.hair_end_y > 20
    half, window = (_ALL_HALF, FULL) if long_hair else (_SHORT_HALF, _SHORT)
    x, y = scene.half_x[half], scene.half_y[half]
    up = np.minimum(y, np.float32(_CENTRE_Y)) - np.float32(_CENTRE_Y)
    width = p.cheek_width + p.hair_side
    height = 61.0 + p.hair_top
    v = up * np.float32(1 / height)
    wide = np.full_like(x, width)
    if long_hair:
        wide += ramp(y, 0, 95) * np.float32(p.hair_flare)
    if p.wave > 1.5:
        # The two sides wave out of step.
        ripple = np.sin(y * np.float32(0.13) + np.sign(x) * np.float32(0.9 + p.parting * 6))
        ripple *= np.float32(0.55 * p.wave)
        ripple *= ramp(y, -70, 40) + np.float32(0.2)
        wide += ripple
    u = x / wide
    # A flatter arc than an ellipse's: skulls are broad.
    radius = v * v
    radius *= np.float32(0.55) + np.float32(0.45) * radius
    radius += u * u
    np.sqrt(radius, out=radius)
    distance = radius * np.float32(width)
    distance -= np.float32(width)
    end = y - np.float32(p.hair_end_y)
    if long_hair:
        end += x * x * np.float32(0.004)
    np.maximum(distance, end, out=distance)

    # Strands follow meridians from the crown, then hang.
    lean = np.sqrt(np.maximum(np.float32(1) - v * v, np.float32(0.02)))
    lean += np.float32(0.12)
    along = (x - np.float32(60 * p.parting)) / lean
    along += np.sin(y * np.float32(0.12)) * np.float32(0.9 * p.wave)
    if p.curl:
        along += np.sin(y * np.float32(0.33) + x * np.float32(0.2)) * np.float32(4 * p.curl)
    strands = comb(double(along), photo.strands)

    light = _light(scene, u, v, y)
    light = double(light)
    light *= strands
    colour = light[0] * (p.hair * photo.light_colour)[:, None, None]
    colour += light[1] * (np.float32(0.35) * p.hair + np.float32(0.018))[:, None, None]
    return Hair(opening, half, window, distance, colour, strands)


def _opening(scene: Scene, x: Array, y: Array) -> Array:
    p = scene.person
    ax = np.abs(x)
    top = -95.0 if p.bald else p.hairline_y
    half_width = p.cheek_width + p.hair_opening + (2.0 if p.bald else 0.0)
    line = y + x * np.float32(p.parting * (0.8 if p.bangs else 0.55))
    if p.receding:
        line += bump(ax, ax, 21, 21, 11, 11) * np.float32(p.receding)
    if p.curtain:
        line += bump(x, x, 30 * p.parting, 30 * p.parting, 17, 17) * np.float32(p.curtain)
        line -= np.float32(0.55 * p.curtain)
    if p.wave > 1.5:
        line += np.sin(x * np.float32(0.19) + np.float32(p.parting * 9)) * np.float32(0.22 * p.wave)
    centre = -2.0
    reach = centre - top
    w = np.minimum(line, np.float32(centre)) - np.float32(centre)
    w *= np.float32(1 / reach)
    w *= w
    # A flatter arc than an ellipse: foreheads are broad.
    w *= np.float32(0.45) + np.float32(0.55) * w
    u = x * np.float32(1 / half_width)
    u *= u
    u += w
    np.sqrt(u, out=u)
    u -= np.float32(1)
    u *= np.float32(min(half_width, reach))
    return u


def comb(along: Array, noise: Array) -> Array:
    """Streaks: linearly interpolated noise across the hair's direction, in [0.75, 1.25].

    Args:
        along: Coordinate across the strands in pixels, above -1600.
        noise: Values in [0, 1]; their number a power of two, plus one that repeats the first.

    Returns:
        Same shape as ``along``.
    """
    size = len(noise) - 1
    place = along * np.float32(0.62)
    place += np.float32(4 * size)
    cell = place.astype(np.int32)
    place -= cell
    cell &= size - 1
    low = noise[cell]
    cell += 1
    high = noise[cell]
    high -= low
    high *= place
    low += high
    low *= np.float32(0.5)
    low += np.float32(0.75)
    return low


def _light(scene: Scene, u: Array, v: Array, y: Array) -> Array:
    """Brightness and sheen of the hair, two arrays of the shape of ``u`` in one."""
    photo = scene.photo
    nx = u * np.float32(0.85)
    ny = v * np.float32(0.85)
    nz = np.sqrt(np.maximum(np.float32(1) - nx * nx - ny * ny, np.float32(0.05)))
    key = nx * photo.light[0]
    key += ny * photo.light[1]
    key += nz * photo.light[2]
    key += np.float32(0.25)
    np.maximum(key, np.float32(0), out=key)
    sheen = bump(v, u, -0.62 - 0.2 * photo.light[1], 0.6 * photo.light[0], 0.2, 0.7)
    sheen *= key
    key *= np.float32((1.12 - photo.ambient) * 0.8)
    key += np.float32(photo.ambient)
    # Hair below the jaw lies in the head's own shade.
    key *= np.float32(1) - ramp(y, 15, 75) * np.float32(0.25)
    return np.stack([key, sheen])


def draw_back_hair(image: Array, scene: Scene, hair: Hair) -> None:
    """The hair that hangs behind the neck, in place; short hair has none."""
    if scene.person.hair_end_y <= 20:
        return
    mask = double(inside(hair.distance, 2.0))
    paint(image, hair.window, mask, hair.colour * np.float32(0.6))


def draw_front_hair(image: Array, scene: Scene, hair: Hair) -> None:
    """The hair around the face, over everything but a hat, in place."""
    distance = np.maximum(hair.distance, -hair.opening[hair.half])
    soft = 2.2
    mask = inside(double(distance) + (hair.strands - np.float32(1)) * np.float32(3), soft)
    if scene.person.bald:
        mask *= np.float32(0.8)
    paint(image, hair.window, mask, hair.colour)


def hat_shadow(scene: Scene, y: Array) -> Array:
    """How much a hat's brim shades the face below it, in [0, 0.5]."""
    reach = {"cap": 26.0, "brim": 30.0, "beanie": 8.0}[scene.photo.hat]
    return ramp(y, _HAT_BRIM_Y + reach, _HAT_BRIM_Y) * np.float32(0.5)


def draw_hat(image: Array, scene: Scene) -> None:
    """A cap, a beanie or a brimmed hat, in place."""
    p, photo = scene.person, scene.photo
    if photo.hat == "none":
        return
    x, y = scene.half_x, scene.half_y
    width = p.cheek_width + max(4.0, p.hair_side) + 2
    height = 58.0 + max(12.0 if photo.hat == "brim" else 7.0, p.hair_top + 3)
    u = x * np.float32(1 / width)
    v = np.minimum(y + np.float32(16), np.float32(0)) * np.float32(1 / (height - 8))
    radius = np.sqrt(u * u + v * v)
    dome = (radius - np.float32(1)) * np.float32(width)
    edge = y - np.float32(_HAT_BRIM_Y) - u * u * np.float32(5)
    np.maximum(dome, edge, out=dome)
    nx, ny = u * np.float32(0.8), v * np.float32(0.8)
    nz = np.sqrt(np.maximum(np.float32(1) - nx * nx - ny * ny, np.float32(0.1)))
    shade = nx * photo.light[0]
    shade += ny * photo.light[1]
    shade += nz * photo.light[2]
    np.maximum(shade + np.float32(0.15), np.float32(0), out=shade)
    shade *= np.float32(1.12 - photo.ambient)
    shade += np.float32(photo.ambient)
    if photo.hat == "beanie":
        band = ramp(edge, -15, -13)
        shade *= np.float32(1) - band * np.float32(0.22)
        shade *= np.float32(1) + np.sin(x * np.float32(0.9)) * np.float32(0.06)
        distance = dome
    else:
        half = 36.0 if photo.hat == "cap" else 78.0
        tall = 8.0 if photo.hat == "cap" else 9.0
        bx = x * np.float32(1 / half)
        by = (y - np.float32(_HAT_BRIM_Y - 1) + bx * bx * np.float32(5)) * np.float32(1 / tall)
        brim = (np.sqrt(bx * bx + by * by) - np.float32(1)) * np.float32(tall)
        shade *= np.float32(1) - ramp(brim, 1.5, -1.5) * np.float32(0.35)
        if photo.hat == "brim":
            band = ramp(edge, -14, -12)
            shade *= np.float32(1) - band * np.float32(0.4)
        distance = np.minimum(dome, brim)
    layers = double(np.stack([distance, shade]))
    colour = photo.hat_colour[:, None, None] * layers[1]
    paint(image, FULL, inside(layers[0], 1.0), colour)
