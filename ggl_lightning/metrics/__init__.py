"""Metrics of reconstructions and inferred labels, on torchmetrics."""

from ggl_lightning.metrics.feature_mse import FeatureMSE
from ggl_lightning.metrics.label_accuracy import InferredLabelAccuracy
from ggl_lightning.metrics.lpips import LPIPS, lpips_network
from ggl_lightning.metrics.reconstruction import (
    ReconstructionMetrics,
    build_reconstruction_metrics,
    mean_psnr,
    reconstruction_metrics,
)
from ggl_lightning.metrics.representation import RepresentationMSE, RepresentationRMSE
from ggl_lightning.metrics.total_variation import PrivateTV, ReconstructionTV

__all__ = [
    "LPIPS",
    "FeatureMSE",
    "InferredLabelAccuracy",
    "PrivateTV",
    "ReconstructionMetrics",
    "ReconstructionTV",
    "RepresentationMSE",
    "RepresentationRMSE",
    "build_reconstruction_metrics",
    "lpips_network",
    "mean_psnr",
    "reconstruction_metrics",
]
