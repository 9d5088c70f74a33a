"""What a search moves in: one file per space."""

from ggl_lightning.attacks.spaces.base import SearchSpace
from ggl_lightning.attacks.spaces.choice import Reached, SpaceChoice
from ggl_lightning.attacks.spaces.features import Features, FeatureSpace
from ggl_lightning.attacks.spaces.generator_weights import GeneratorWeights, WeightSpace
from ggl_lightning.attacks.spaces.latents import Latents, LatentSpace
from ggl_lightning.attacks.spaces.low_resolution import LowResolution, LowResolutionSpace
from ggl_lightning.attacks.spaces.pixels import Pixels, PixelSpace
from ggl_lightning.attacks.spaces.pixels_and_labels import PixelAndLabelSpace, PixelsAndLabels

__all__ = [
    "FeatureSpace",
    "Features",
    "GeneratorWeights",
    "LatentSpace",
    "Latents",
    "LowResolution",
    "LowResolutionSpace",
    "PixelAndLabelSpace",
    "PixelSpace",
    "Pixels",
    "PixelsAndLabels",
    "Reached",
    "SearchSpace",
    "SpaceChoice",
    "WeightSpace",
]
