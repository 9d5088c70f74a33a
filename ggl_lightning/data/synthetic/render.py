"""Puts a photo together: backdrop, body, head, features, hair, hat, tone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ggl_lightning.data.synthetic.beard import beard_growth, density, draw_beard
from ggl_lightning.data.synthetic.body import backdrop, draw_body, draw_earrings, draw_ears
from ggl_lightning.data.synthetic.canvas import HEIGHT, WIDTH, Array, double, inside, paint, ramp
from ggl_lightning.data.synthetic.eyewear import draw_glasses
from ggl_lightning.data.synthetic.features import draw_brows, draw_eyes, draw_mouth, draw_nose
from ggl_lightning.data.synthetic.hair import (
    Hair,
    build_hair,
    draw_back_hair,
    draw_front_hair,
    draw_hat,
    hat_shadow,
)
from ggl_lightning.data.synthetic.head import (
    complexion,
    highlight,
    illuminate,
    normals,
    outline,
    relief,
)
from ggl_lightning.data.synthetic.scene import FACE, FACE_HALF, Scene, stage
from ggl_lightning.data.synthetic.traits import Person, Photo


def render(person: Person, photo: Photo) -> NDArray[np.uint8]:
    """Draws one photo.

    Returns:
        sRGB image, uint8, shape ``(218, 178, 3)``.
    """
    scene = stage(person, photo)
    radius = outline(scene, scene.half_x, scene.half_y)
    hair = build_hair(scene)
    image = backdrop(scene)
    draw_back_hair(image, scene, hair)
    draw_body(image, scene, radius)
    draw_ears(image, scene)
    _draw_face(image, scene, radius[FACE_HALF], hair)
    draw_front_hair(image, scene, hair)
    draw_earrings(image, scene)
    draw_hat(image, scene)
    return _develop(image, photo)


def _draw_face(image: Array, scene: Scene, radius: Array, hair: Hair) -> None:
    """Lights and paints the face in its window of ``image``, in place."""
    photo = scene.photo
    x, y = scene.half_x[FACE_HALF], scene.half_y[FACE_HALF]
    nx, ny, nz = normals(scene, x, y, relief(scene, x, y, radius))
    light = illuminate(photo, nx, ny, nz)
    # Hair and hats shade the skin just inside their edge.
    shade = ramp(hair.opening[FACE_HALF], -11, 3) * np.float32(0.0 if scene.person.bald else 0.4)
    if photo.hat != "none":
        np.maximum(shade, hat_shadow(scene, y), out=shade)
    light *= np.float32(1) - shade
    gloss = highlight(photo, nx, ny, nz) * np.float32(0.16 * (1.15 - photo.ambient))
    gloss *= np.float32(1) - shade
    facial_hair = density(scene, x, y)
    if facial_hair is not None:
        gloss *= np.float32(1) - facial_hair
    grow = beard_growth(scene)
    edge = radius if not grow else outline(scene, x, y, grow)
    edge = (edge - np.float32(1)) * np.float32(45)

    maps = double(np.concatenate([light, complexion(scene, x, y), gloss[None], edge[None]]))
    light, albedo, gloss, edge = maps[:3], maps[3:6], maps[6], maps[7]
    if facial_hair is not None:
        draw_beard(albedo, scene, double(facial_hair))
    draw_nose(albedo, scene)
    draw_mouth(albedo, gloss, scene)
    draw_eyes(albedo, gloss, scene)
    draw_brows(albedo, scene)
    albedo *= light
    albedo += gloss
    draw_glasses(albedo, scene)
    paint(image, FACE, inside(edge, 1.2), albedo)


def _develop(image: Array, photo: Photo) -> NDArray[np.uint8]:
    """Exposure, white balance, gamma 2 and rounding to 8 bits."""
    image *= (np.float32(255 * 255 * photo.exposure) * photo.balance)[:, None, None]
    np.clip(image, 0, 255 * 255, out=image)
    np.sqrt(image, out=image)
    image += np.float32(0.5)  # the cast below truncates
    pixels = np.empty((HEIGHT, WIDTH, 3), dtype=np.uint8)
    for channel in range(3):
        pixels[..., channel] = image[channel]
    if photo.blurry:
        small = Image.fromarray(pixels).resize((WIDTH // 3, HEIGHT // 3), Image.Resampling.BILINEAR)
        pixels = np.asarray(small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    return pixels
