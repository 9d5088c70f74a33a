"""What a search moves in: one file per space."""

from ggl_lightning.attacks.spaces.base import SearchSpace
from ggl_lightning.attacks.spaces.latents import LatentSpace

__all__ = ["LatentSpace", "SearchSpace"]
