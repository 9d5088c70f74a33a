"""How close a reconstruction is to the private image."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn
from torchmetrics import MeanSquaredError, Metric, MetricCollection
from torchmetrics.functional.image import peak_signal_noise_ratio
from torchmetrics.image import StructuralSimilarityIndexMeasure

from ggl_lightning.metrics.feature_mse import FeatureMSE
from ggl_lightning.metrics.lpips import (
    LPIPS,
    SMALLEST_IMAGE,
    Backbone,
    cached_weights,
    lpips_network,
)
from ggl_lightning.metrics.psnr import CEILING, PSNR, PUBLISHED_CEILING, mean_of_psnr
from ggl_lightning.metrics.representation import RepresentationMSE, RepresentationRMSE
from ggl_lightning.metrics.total_variation import PrivateTV, ReconstructionTV

IMAGE_RANGE = (-1.0, 1.0)
"""The value range of every image; each metric below is told so (its data range is 2)."""

_PUBLISHED_PEAK = 1.0
_SSIM_SMALLEST_IMAGE = 6  # the 11x11 window is padded by 5, by reflection


def reconstruction_metrics() -> MetricCollection:
    """The image metrics that need nothing but images ``(N, 3, H, W)`` in ``[-1, 1]``.

    * ``mse``: mean squared error, in squared units of ``[-1, 1]``.
    * ``psnr``: ``10 log10(2^2 / mse)`` in dB, averaged per image: the standard definition with the
      images' true data range. (The published tables use a peak of 1 on the same images, which
      reads 6.02 dB lower.)
    * ``ssim``: structural similarity (Wang et al. 2004), 11x11 Gaussian window, data range 2.
    """
    return MetricCollection(
        {
            "mse": MeanSquaredError(),
            "psnr": PSNR(IMAGE_RANGE, CEILING),
            "ssim": StructuralSimilarityIndexMeasure(data_range=IMAGE_RANGE),
        }
    )


@dataclass(frozen=True)
class ReconstructionMetrics:
    """All metrics of a reconstruction that can be computed here, and why the others cannot.

    Attributes:
        client_model: The client model, in eval mode.
        last_layer: Its layer that outputs the logits.
        lpips: LPIPS networks by the name of their metric.
        missing: Reasons by the name of a metric that cannot be computed; never a metric that
            `collection` holds.
    """

    client_model: nn.Module
    last_layer: nn.Linear
    lpips: dict[str, nn.Module] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def collection(self) -> MetricCollection:
        """A fresh collection; all collections share the client model and the LPIPS networks.

        Besides `reconstruction_metrics`: ``psnr_published`` (``-10 log10(mse)`` in dB: a peak of 1
        on images in ``[-1, 1]``), ``lpips_vgg``, ``lpips_alex``, ``fmse``, ``mse_r``, ``rmse_r``,
        ``tv_reconstruction`` and ``tv_private``; their classes say what they are. Give it
        reconstructions and private images ``(N, 3, H, W)`` in ``[-1, 1]``, on the client model's
        device.
        """
        metrics: dict[str, Metric | MetricCollection] = {
            **dict(reconstruction_metrics().items()),
            "psnr_published": PSNR(_PUBLISHED_PEAK, PUBLISHED_CEILING),
            **{name: LPIPS(network) for name, network in self.lpips.items()},
            "fmse": FeatureMSE(self.client_model, self.last_layer),
            "mse_r": RepresentationMSE(self.client_model, self.last_layer),
            "rmse_r": RepresentationRMSE(self.client_model, self.last_layer),
            "tv_reconstruction": ReconstructionTV(),
            "tv_private": PrivateTV(),
        }
        computable = {name: m for name, m in metrics.items() if name not in self.missing}
        # Groups are found by equal states after the first update, and a perfect reconstruction
        # makes states equal that must part later.
        return MetricCollection(computable, compute_groups=False)


def build_reconstruction_metrics(
    client_model: nn.Module,
    last_layer: nn.Linear,
    image_size: int,
    lpips_vgg_weights: str | None = None,
    lpips_alex_weights: str | None = None,
) -> ReconstructionMetrics:
    """Finds out which metrics can be computed, and loads what they need; downloads nothing.

    Args:
        client_model: The client model, in eval mode.
        last_layer: Its layer that outputs the logits.
        image_size: Height and width of the images, in pixels.
        lpips_vgg_weights: File of torchvision's ``vgg16`` weights; None looks in torch's hub
            cache, and leaves ``lpips_vgg`` missing if they are not there.
        lpips_alex_weights: The same for ``alexnet`` and ``lpips_alex``.

    Raises:
        UserError: If a weight file is damaged or of another network, or one that was asked for
            does not exist.
    """
    networks: dict[str, nn.Module] = {}
    missing: dict[str, str] = {}
    backbones: list[tuple[Backbone, str | None]] = [
        ("vgg", lpips_vgg_weights),
        ("alex", lpips_alex_weights),
    ]
    for backbone, weights in backbones:
        name = f"lpips_{backbone}"
        cached = cached_weights(backbone)
        if image_size < SMALLEST_IMAGE[backbone]:
            missing[name] = (
                f"images of {image_size} pixels are too small for the backbone, which takes "
                f"{SMALLEST_IMAGE[backbone]} or more"
            )
        elif weights is not None or cached.is_file():
            networks[name] = lpips_network(backbone, cached if weights is None else weights)
        else:
            missing[name] = (
                f"no backbone weights: set {name}_weights, or put torchvision's {cached.name} "
                f"into {cached.parent}"
            )
    if image_size < _SSIM_SMALLEST_IMAGE:
        missing["ssim"] = (
            f"images of {image_size} pixels are too small for its window, which takes "
            f"{_SSIM_SMALLEST_IMAGE} or more"
        )
    return ReconstructionMetrics(client_model, last_layer, networks, missing)


def mean_psnr(images: Tensor, reference: Tensor) -> float:
    """Mean over images of the PSNR of each against one reference.

    Args:
        images: ``(N, 3, H, W)`` in ``[-1, 1]``.
        reference: ``(3, H, W)`` in ``[-1, 1]``.

    Returns:
        The mean, in dB; as that of `PSNR` if some images equal the reference.
    """
    values = peak_signal_noise_ratio(
        images,
        reference.expand_as(images),
        data_range=IMAGE_RANGE,
        dim=(1, 2, 3),
        reduction="none",
    )
    return mean_of_psnr(values, CEILING).item()
