"""What every part of the drawing shares: the person, the photo and the coordinate maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ggl_lightning.data.synthetic.canvas import HEIGHT, WIDTH, Array, Window, double
from ggl_lightning.data.synthetic.traits import Person, Photo

# The part of the frame that a face and its ears can reach: (rows, columns).
FACE_HALF: Window = (slice(20, 101), slice(14, 75))
FACE: Window = (slice(40, 202), slice(28, 150))
FULL: Window = (slice(0, HEIGHT), slice(0, WIDTH))


@dataclass
class Scene:
    """One photo being drawn.

    Attributes:
        person: Who.
        photo: How.
        half_x: Head coordinate X per half-resolution pixel, ``(109, 89)``.
        half_y: Head coordinate Y, likewise.
        x: X per pixel of the `FACE` window, ``(162, 122)``.
        y: Y, likewise.
    """

    person: Person
    photo: Photo
    half_x: Array
    half_y: Array
    x: Array
    y: Array

    def window(self, x: float, y: float, half_width: float, half_height: float) -> Window:
        """Rows and columns of the `FACE` window around the head point ``(x, y)``.

        Sizes are in head coordinates; room for the roll is added.
        """
        column, row = self.photo.pose.project(x, y)
        scale = self.photo.pose.scale
        # Seven degrees of roll move a corner by an eighth of the other half-size.
        dx = scale * (half_width + half_height / 8) + 1
        dy = scale * (half_height + half_width / 8) + 1
        rows, columns = FACE
        height, width = self.x.shape
        return (
            slice(max(0, int(row - rows.start - dy)), min(height, int(row - rows.start + dy) + 2)),
            slice(
                max(0, int(column - columns.start - dx)),
                min(width, int(column - columns.start + dx) + 2),
            ),
        )


def stage(person: Person, photo: Photo) -> Scene:
    """Computes the coordinate maps of a photo."""
    half_x, half_y = photo.pose.head_coordinates()
    face = double(np.stack([half_x[FACE_HALF], half_y[FACE_HALF]]))
    return Scene(person, photo, half_x, half_y, face[0], face[1])
