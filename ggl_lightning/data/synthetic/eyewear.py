"""Glasses and sunglasses."""

from __future__ import annotations

import numpy as np

from ggl_lightning.data.synthetic.canvas import Array, inside, paint, ramp, to_linear
from ggl_lightning.data.synthetic.scene import Scene

_TINT = to_linear(26, 24, 28)


def draw_glasses(face: Array, scene: Scene) -> None:
    """Rims, bridge, temples and lenses on the lit face ``(3, 162, 122)``, in place."""
    p, photo = scene.person, scene.photo
    if photo.glasses == "none":
        return
    window = scene.window(0, 2, 54, photo.lens_height + 6)
    x, y = scene.x[window], scene.y[window]
    ax = np.abs(x)
    y0 = 1.5
    corner = photo.lens_round * photo.lens_height
    qx = np.abs(ax - np.float32(p.eye_x + 1)) - np.float32(photo.lens_width - corner)
    qy = np.abs(y - np.float32(y0)) - np.float32(photo.lens_height - corner)
    distance = np.hypot(np.maximum(qx, np.float32(0)), np.maximum(qy, np.float32(0)))
    distance += np.minimum(np.maximum(qx, qy), np.float32(0))
    distance -= np.float32(corner)
    lens = inside(distance, 0.9)
    if photo.glasses == "sun":
        fade = np.float32(0.95) - ramp(y, y0 - 4, y0 + 18) * np.float32(0.2)
        paint(face, window, lens * fade, _TINT)
        shine = ramp(np.abs(ax + y * np.float32(0.6) - np.float32(p.eye_x - 5)), 5, 0)
        face[:, window[0], window[1]] += shine * lens * np.float32(0.10)
    else:
        face[:, window[0], window[1]] *= np.float32(1) - lens * np.float32(0.07)
        shine = ramp(np.abs(ax + y * np.float32(0.6) - np.float32(p.eye_x - 3)), 4, 0)
        face[:, window[0], window[1]] += shine * lens * np.float32(0.05)
    width = photo.frame_width + 0.4 * (photo.glasses == "sun")
    rim = np.abs(distance) - np.float32(width)
    bridge = np.maximum(
        ax - np.float32(p.eye_x + 1 - photo.lens_width),
        np.abs(y + np.float32(2.0) + ax * ax * np.float32(-0.03)) - np.float32(0.8 * width),
    )
    arm = np.maximum(
        np.float32(p.eye_x + photo.lens_width) - ax,
        np.abs(y + np.float32(2.5)) - np.float32(0.9 * width),
    )
    frame = np.minimum(rim, np.minimum(bridge, arm))
    paint(face, window, inside(frame, 0.8) * np.float32(0.95), photo.frame_colour)
