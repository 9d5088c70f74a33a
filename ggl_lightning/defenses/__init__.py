"""Defenses: what a client does to its update before sending it. One file each."""

from ggl_lightning.defenses.base import (
    Adaptation,
    ClientSide,
    Defense,
    TensorwiseAdaptation,
    Unchanged,
)
from ggl_lightning.defenses.clipping import Clipping
from ggl_lightning.defenses.compose import Compose
from ggl_lightning.defenses.compression import Compression
from ggl_lightning.defenses.dp_sgd import DPSGD
from ggl_lightning.defenses.exclude_vars import ExcludeVars
from ggl_lightning.defenses.gaussian_privacy import GaussianPrivacy
from ggl_lightning.defenses.layerwise_clipping import LayerwiseClipping
from ggl_lightning.defenses.local_dp import LocalDP
from ggl_lightning.defenses.noise import Noise
from ggl_lightning.defenses.none import NoDefense
from ggl_lightning.defenses.percentile_privacy import PercentilePrivacy
from ggl_lightning.defenses.quantization import Quantization
from ggl_lightning.defenses.representation import Representation
from ggl_lightning.defenses.sign import Sign
from ggl_lightning.defenses.svt_privacy import SVTPrivacy

__all__ = [
    "DPSGD",
    "Adaptation",
    "ClientSide",
    "Clipping",
    "Compose",
    "Compression",
    "Defense",
    "ExcludeVars",
    "GaussianPrivacy",
    "LayerwiseClipping",
    "LocalDP",
    "NoDefense",
    "Noise",
    "PercentilePrivacy",
    "Quantization",
    "Representation",
    "SVTPrivacy",
    "Sign",
    "TensorwiseAdaptation",
    "Unchanged",
]
