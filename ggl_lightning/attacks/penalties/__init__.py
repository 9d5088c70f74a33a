"""Penalties: what is unlikely of a candidate, whatever its update. One file for each."""

from ggl_lightning.attacks.penalties.base import Penalty
from ggl_lightning.attacks.penalties.batch_norm_statistics import BatchNormStatistics
from ggl_lightning.attacks.penalties.group_consistency import GroupConsistency
from ggl_lightning.attacks.penalties.image_norm import ImageNorm
from ggl_lightning.attacks.penalties.latents import (
    Regularizer,
    gaussian_regularizer,
    kl_regularizer,
)
from ggl_lightning.attacks.penalties.total_variation import TotalVariation, VariationNorm
from ggl_lightning.attacks.penalties.weighted import WeightedPenalties

__all__ = [
    "BatchNormStatistics",
    "GroupConsistency",
    "ImageNorm",
    "Penalty",
    "Regularizer",
    "TotalVariation",
    "VariationNorm",
    "WeightedPenalties",
    "gaussian_regularizer",
    "kl_regularizer",
]
