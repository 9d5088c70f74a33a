"""Pixels: the frame's size, coordinate grids, soft edges, smooth noise and painting.

Everything is drawn in float32, channels first, in linear light (sRGB approximated by gamma 2).
Smooth quantities are computed on half-resolution grids and doubled, which is what makes
hundreds of images a second possible.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

# float32 throughout; numpy's stubs widen differences of float32 arrays to float64.
Array: TypeAlias = NDArray[Any]
Window = tuple[slice, slice]

WIDTH, HEIGHT = 178, 218


def to_linear(*srgb: float) -> Array:
    """Colour with components in [0, 255] to linear light in [0, 1], shape ``(3,)``."""
    return (np.asarray(srgb, dtype=np.float32) / np.float32(255)) ** 2


def ramp(values: Array, start: float, stop: float) -> Array:
    """Smoothstep: 0 at ``start``, 1 at ``stop`` (``start > stop`` falls instead of rising)."""
    t = values - np.float32(start)
    t *= np.float32(1.0 / (stop - start))
    np.clip(t, 0, 1, out=t)
    s = t * np.float32(-2)
    s += np.float32(3)
    s *= t
    s *= t
    return s


def inside(distance: Array, softness: float = 1.0) -> Array:
    """Antialiased coverage of a shape from its signed distance in pixels (negative inside)."""
    return ramp(distance, softness, -softness)


def bump(x: Array, y: Array, x0: float, y0: float, sx: float, sy: float) -> Array:
    """Gaussian hill ``exp(-((x-x0)/sx)^2 - ((y-y0)/sy)^2)``, same shape as ``x``."""
    a = x - np.float32(x0)
    a *= np.float32(1.0 / sx)
    a *= a
    b = y - np.float32(y0)
    b *= np.float32(1.0 / sy)
    b *= b
    a += b
    np.negative(a, out=a)
    return np.exp(a, out=a)


def double(a: Array) -> Array:
    """Bilinear upsampling by two of the last two axes, pixel centres kept aligned."""
    *lead, height, width = a.shape
    near, far = a * np.float32(0.75), a * np.float32(0.25)
    wide = np.empty((*lead, height, 2 * width), dtype=np.float32)
    # Columns first: their strided writes are the slow ones and here there are half as many.
    np.add(near[..., 1:], far[..., :-1], out=wide[..., 2::2])
    np.add(near[..., :-1], far[..., 1:], out=wide[..., 1:-1:2])
    wide[..., 0] = a[..., 0]
    wide[..., -1] = a[..., -1]
    near, far = wide * np.float32(0.75), wide * np.float32(0.25)
    out = np.empty((*lead, 2 * height, 2 * width), dtype=np.float32)
    np.add(near[..., 1:, :], far[..., :-1, :], out=out[..., 2::2, :])
    np.add(near[..., :-1, :], far[..., 1:, :], out=out[..., 1:-1:2, :])
    out[..., 0, :] = wide[..., 0, :]
    out[..., -1, :] = wide[..., -1, :]
    return out


@lru_cache(maxsize=64)
def _spline_weights(length: int, knots: int) -> Array:
    """Uniform cubic B-spline basis, shape ``(length, knots)``: rows sum to 1."""
    position = np.linspace(0, knots - 3.001, length)
    cell = np.floor(position).astype(int)
    t = position - cell
    weights = np.zeros((length, knots), dtype=np.float32)
    rows = np.arange(length)
    for offset, w in enumerate(
        (
            (1 - t) ** 3 / 6,
            (3 * t**3 - 6 * t**2 + 4) / 6,
            (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
            t**3 / 6,
        )
    ):
        # The last cell's fourth knot falls off the end when knots are few; its weight goes inwards.
        np.add.at(weights, (rows, np.minimum(cell + offset, knots - 1)), w)
    return weights


def smooth_field(knots: Array, height: int, width: int) -> Array:
    """Cubic B-spline surface ``(..., height, width)`` over control values ``(..., m, n)``."""
    rows = _spline_weights(height, knots.shape[-2])
    columns = _spline_weights(width, knots.shape[-1])
    return rows @ (knots.astype(np.float32) @ columns.T)


def paint(image: Array, window: Window, mask: Array, colour: Array) -> None:
    """Lays ``colour`` over a window of ``image`` where ``mask`` is 1, in place.

    Args:
        image: Shape ``(3, H, W)``.
        window: Row and column slices.
        mask: Shape of the window, values in [0, 1].
        colour: Shape ``(3,)`` or ``(3,)`` plus the window's shape.
    """
    if colour.ndim == 1:
        colour = colour[:, None, None]
    target = image[:, window[0], window[1]]
    change = colour - target
    change *= mask
    target += change


def darken(image: Array, window: Window, amount: Array) -> None:
    """Multiplies a window of ``image`` by ``1 - amount``, in place."""
    image[:, window[0], window[1]] *= np.float32(1) - amount
