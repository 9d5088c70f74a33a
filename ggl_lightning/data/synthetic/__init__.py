"""Synthetic faces: portraits drawn from a seed, written in CelebA's on-disk layout.

Where things are: `traits` (who, and how photographed), `pose`, `scene` and `canvas` (coordinates
and pixels), `head`, `features`, `beard`, `eyewear`, `hair`, `body` (one part of the drawing
each), `render` (their order), `attributes` (what CelebA would say), `lists` and `writer` (files).
"""

from ggl_lightning.data.synthetic.attributes import FaceDescription
from ggl_lightning.data.synthetic.faces import draw_face
from ggl_lightning.data.synthetic.writer import write_synthetic_celeba

__all__ = ["FaceDescription", "draw_face", "write_synthetic_celeba"]
