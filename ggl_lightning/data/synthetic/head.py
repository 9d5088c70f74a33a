"""The head as a solid: its outline, its height field and the light on it."""

from __future__ import annotations

import numpy as np

from ggl_lightning.data.synthetic.canvas import Array, bump, ramp
from ggl_lightning.data.synthetic.scene import Scene
from ggl_lightning.data.synthetic.traits import Person, Photo

EAR_Y = 6.0


def chin_y(person: Person, photo: Photo) -> float:
    """Row of the chin in head coordinates: an open mouth lowers it."""
    return person.chin_y + 3.0 * photo.mouth_open


def outline(scene: Scene, x: Array, y: Array, grow: float = 0.0) -> Array:
    """Radius of the face outline: below 1 inside, 1 on the edge; same shape as ``x``.

    Args:
        scene: The photo.
        x: Head coordinates X.
        y: Head coordinates Y.
        grow: Pixels by which the lower half is longer and wider (a beard).
    """
    p = scene.person
    down = y - np.float32(4)
    v = np.maximum(
        down * np.float32(1 / (chin_y(p, scene.photo) + grow - 4)), down * np.float32(-1 / 67)
    )
    v *= v
    v *= np.float32(1 - p.jaw_square) + np.float32(p.jaw_square) * v
    narrowing = ramp(y, 4, 58)
    narrowing *= np.float32((p.jaw_width - 1) * p.cheek_width + 0.6 * grow)
    narrowing += np.float32(p.cheek_width)
    u = x / narrowing
    u *= u
    v += u
    return np.sqrt(v, out=v)


def relief(scene: Scene, x: Array, y: Array, radius: Array) -> Array:
    """Height of the face surface towards the viewer before rotation, in pixels."""
    p, photo = scene.person, scene.photo
    smile = max(0.0, photo.smile)
    ax = np.abs(x)
    z = radius * radius
    z *= np.float32(-0.93)
    z += np.float32(1)
    np.maximum(z, np.float32(0.03), out=z)
    np.sqrt(z, out=z)
    z *= np.float32(52)
    n = p.nose_size
    cheek = 1.5 + 3.5 * p.cheekbones + 2.5 * smile
    for x0, y0, sx, sy, height in (
        (0.0, p.nose_tip_y - 17, 5.0, 14.0, 6.5 * n),
        (0.0, p.nose_tip_y, 6.2, 6.0, 9.5 * n),
        (p.nose_width - 1, p.nose_tip_y + 2.5, 4.0, 4.0, 4.5 * n),
        (16.0, -12.0, 13.0, 5.0, 1.2 + 1.8 * p.male),
        (p.eye_x - 3, 0.5, 11.0, 8.0, -5.5),
        (p.eye_x, 1.0, 7.0, 5.0, 3.6),
        (27.0, 17.0 - 2 * smile, 11.0, 9.0, cheek),
        (30.0, 36.0, 10.0, 12.0, 5.0 * (p.fullness - 0.25)),
        (0.0, p.mouth_y + 0.5, p.mouth_width, 8.0, 4.0),
        (0.0, p.mouth_y + 4.5, 9.0, 3.0, 1.8),
        (0.0, p.mouth_y + 10.5, 10.0, 3.0, -2.2),
        (0.0, p.chin_y - 7.0, 11.0, 6.5, 4.0),
    ):
        hill = bump(ax, y, x0, y0, sx, sy)
        hill *= np.float32(height)
        z += hill
    return z


def normals(scene: Scene, x: Array, y: Array, z: Array) -> tuple[Array, Array, Array]:
    """Unit surface normals in image axes (right, down, towards the viewer).

    Finite differences of the rotated height over the half-resolution pixels.
    """
    pose = scene.photo.pose
    yaw, pitch = np.radians(pose.yaw), np.radians(pose.pitch)
    depth = z * np.float32(pose.scale * np.cos(yaw) * np.cos(pitch))
    depth -= x * np.float32(pose.scale * np.sin(yaw) * np.cos(pitch))
    depth -= y * np.float32(pose.scale * np.sin(pitch))
    nx = np.zeros_like(depth)
    ny = np.zeros_like(depth)
    # Central differences over two half-resolution steps, four pixels of the frame.
    nx[:, 1:-1] = depth[:, :-2] - depth[:, 2:]
    ny[1:-1] = depth[:-2] - depth[2:]
    nx *= np.float32(0.25)
    ny *= np.float32(0.25)
    length = nx * nx
    length += ny * ny
    length += np.float32(1)
    nz = np.float32(1) / np.sqrt(length, out=length)
    nx *= nz
    ny *= nz
    return nx, ny, nz


def illuminate(
    photo: Photo,
    nx: Array,
    ny: Array,
    nz: Array,
    wrap: tuple[float, float, float] = (0.3, 0.2, 0.16),
) -> Array:
    """Light arriving at a surface, ``(3, h, w)``: ambient from above plus a wrapped Lambert key.

    The wrap differs per channel: light that scatters below the skin reddens the terminator.
    """
    lx, ly, lz = photo.light
    key = nx * lx
    key += ny * ly
    key += nz * lz
    ambient = ny * np.float32(-0.28 * photo.ambient)
    ambient += np.float32(photo.ambient)
    out = np.empty((3, *key.shape), dtype=np.float32)
    strength = 1.12 - photo.ambient
    for channel, w in enumerate(wrap):
        level = key * np.float32(1 / (1 + w))
        level += np.float32(w / (1 + w))
        np.maximum(level, np.float32(0), out=level)
        level *= np.float32(strength) * photo.light_colour[channel]
        level += ambient
        out[channel] = level
    return out


def highlight(photo: Photo, nx: Array, ny: Array, nz: Array) -> Array:
    """Blinn highlight with exponent 16, in [0, 1]."""
    half = photo.light + np.array([0, 0, 1], dtype=np.float32)
    half /= np.sqrt((half**2).sum())
    s = nx * half[0]
    s += ny * half[1]
    s += nz * half[2]
    np.maximum(s, np.float32(0), out=s)
    for _ in range(4):
        s *= s
    return s


def complexion(scene: Scene, x: Array, y: Array) -> Array:
    """Skin colour over the face, ``(3, h, w)``: blush, folds, lines and shadows under the eyes."""
    p, photo = scene.person, scene.photo
    smile = max(0.0, photo.smile)
    ax = np.abs(x)
    shade = np.ones_like(x)
    # Nasolabial folds run from the nostrils past the mouth's corners.
    fold = ax - (np.float32(10.5) + (y - np.float32(p.nose_tip_y)) * np.float32(0.62))
    depth = min(1.0, 0.12 + 0.45 * smile + 0.5 * p.age)
    fold = bump(fold, y, 0, p.mouth_y - 6, 2.2, 10)
    shade -= fold * np.float32(0.30 * depth)
    shade -= bump(ax, y, p.eye_x - 1, 8.5, 8, 2.4) * np.float32(0.42 * max(0.0, p.bags - 0.1))
    # The inner corners lie deep beside the nose.
    shade -= bump(ax, y, 9.5, -1, 4.5, 6) * np.float32(0.22)
    shade -= bump(ax, y, 0, p.nose_tip_y + 6.5, 8, 3.5) * np.float32(0.22)
    shade -= bump(ax, y, 0, p.mouth_y + 10, 10, 2.5) * np.float32(0.14)
    if p.age > 0.5:
        lines = np.cos(y * np.float32(2 * np.pi / 6.5))
        lines *= bump(ax, y, 0, -29, 24, 9)
        shade += lines * np.float32(0.16 * (p.age - 0.5))
        shade -= bump(ax, y, p.eye_x + 13, 3, 5, 4) * np.float32(0.3 * (p.age - 0.5))
    out = p.skin[:, None, None] * shade
    cheeks = bump(ax, y, 27, 19 - 3 * smile, 10, 8)
    cheeks *= np.float32(0.10 + 0.42 * photo.rosy)
    nose = bump(ax, y, 0, p.nose_tip_y, 9, 8)
    nose *= np.float32(0.14)
    cheeks += nose
    out[1] *= np.float32(1) - cheeks * np.float32(0.62)
    out[2] *= np.float32(1) - cheeks * np.float32(0.55)
    return out
