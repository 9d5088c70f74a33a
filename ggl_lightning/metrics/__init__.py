"""Metrics of reconstructions and inferred labels, and statistics over images, on torchmetrics."""

from ggl_lightning.metrics.attribute_agreement import AttributeAgreement
from ggl_lightning.metrics.binomial_rate import BinomialRate
from ggl_lightning.metrics.bootstrap_mean import BootstrapMean
from ggl_lightning.metrics.exact_interval import exact_interval
from ggl_lightning.metrics.feature_mse import FeatureMSE
from ggl_lightning.metrics.identification_bound import identification_bound
from ggl_lightning.metrics.identification_ranks import (
    identification_ranks,
    rank_of_first,
    representation_of,
    tells_apart,
)
from ggl_lightning.metrics.identification_rate import IdentificationRate
from ggl_lightning.metrics.label_accuracy import InferredLabelAccuracy
from ggl_lightning.metrics.lpips import LPIPS, lpips_network
from ggl_lightning.metrics.max_leakage import MaxLeakage
from ggl_lightning.metrics.missing import MissingError
from ggl_lightning.metrics.normalized_leakage import NormalizedLeakage
from ggl_lightning.metrics.paired_difference import PairedDifference
from ggl_lightning.metrics.paired_rate_difference import PairedRateDifference
from ggl_lightning.metrics.psnr import CEILING, PUBLISHED_CEILING, mean_of_psnr
from ggl_lightning.metrics.reconstruction import (
    ReconstructionMetrics,
    build_reconstruction_metrics,
    mean_psnr,
    reconstruction_metrics,
)
from ggl_lightning.metrics.representation import RepresentationMSE, RepresentationRMSE
from ggl_lightning.metrics.resampling import CONFIDENCE
from ggl_lightning.metrics.statistic import Statistic
from ggl_lightning.metrics.total_variation import PrivateTV, ReconstructionTV

__all__ = [
    "CEILING",
    "CONFIDENCE",
    "LPIPS",
    "PUBLISHED_CEILING",
    "AttributeAgreement",
    "BinomialRate",
    "BootstrapMean",
    "FeatureMSE",
    "IdentificationRate",
    "InferredLabelAccuracy",
    "MaxLeakage",
    "MissingError",
    "NormalizedLeakage",
    "PairedDifference",
    "PairedRateDifference",
    "PrivateTV",
    "ReconstructionMetrics",
    "ReconstructionTV",
    "RepresentationMSE",
    "RepresentationRMSE",
    "Statistic",
    "build_reconstruction_metrics",
    "exact_interval",
    "identification_bound",
    "identification_ranks",
    "lpips_network",
    "mean_of_psnr",
    "mean_psnr",
    "rank_of_first",
    "reconstruction_metrics",
    "representation_of",
    "tells_apart",
]
