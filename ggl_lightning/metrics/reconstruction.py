"""How close a reconstruction is to the private image."""

from __future__ import annotations

from torch import Tensor
from torchmetrics import MeanSquaredError, MetricCollection
from torchmetrics.functional.image import peak_signal_noise_ratio
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

IMAGE_RANGE = (-1.0, 1.0)
"""The value range of every image; each metric below is told so (its data range is 2)."""


def reconstruction_metrics() -> MetricCollection:
    """The image metrics of an audit, all on images ``(N, 3, H, W)`` in ``[-1, 1]``.

    * ``mse``: mean squared error, in squared units of ``[-1, 1]``.
    * ``psnr``: ``10 log10(2^2 / mse)`` in dB, averaged per image: the standard definition with the
      images' true data range. (The published tables use a peak of 1 on the same images, which
      reads 6.02 dB lower.)
    * ``ssim``: structural similarity (Wang et al. 2004), 11x11 Gaussian window, data range 2.
    """
    return MetricCollection(
        {
            "mse": MeanSquaredError(),
            "psnr": PeakSignalNoiseRatio(data_range=IMAGE_RANGE, dim=(1, 2, 3)),
            "ssim": StructuralSimilarityIndexMeasure(data_range=IMAGE_RANGE),
        }
    )


def mean_psnr(images: Tensor, reference: Tensor) -> float:
    """Mean over images of the PSNR of each against one reference.

    Args:
        images: ``(N, 3, H, W)`` in ``[-1, 1]``.
        reference: ``(3, H, W)`` in ``[-1, 1]``.

    Returns:
        The mean, in dB.
    """
    return peak_signal_noise_ratio(
        images, reference.expand_as(images), data_range=IMAGE_RANGE, dim=(1, 2, 3)
    ).item()
