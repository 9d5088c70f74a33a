"""One synthetic face: from two numbers to a photo and its description."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ggl_lightning.data.synthetic.attributes import FaceDescription, describe
from ggl_lightning.data.synthetic.render import render
from ggl_lightning.data.synthetic.traits import identity_of, sample_person, sample_photo


def draw_face(seed: int, index: int) -> tuple[NDArray[np.uint8], FaceDescription]:
    """Draws image ``index`` of the collection ``seed``.

    Depends on the two numbers alone: not on the size of the collection, on what was drawn
    before, or on how many processes draw.

    Args:
        seed: Collection, from 0.
        index: Position in the collection, from 0.

    Returns:
        The sRGB image, uint8 of shape ``(218, 178, 3)``, and what CelebA would say about it.
    """
    identity = identity_of(index)
    person = sample_person(seed, identity)
    photo = sample_photo(seed, index, person)
    return render(person, photo), describe(identity, person, photo)
