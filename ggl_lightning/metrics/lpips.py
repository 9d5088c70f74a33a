"""LPIPS from local weights: perceptual distance without downloads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor, nn
from torchmetrics.functional.image.lpips import _NoTrainLpips
from torchvision.models import AlexNet_Weights, VGG16_Weights

from ggl_lightning.errors import UserError
from ggl_lightning.metrics.mean_over_images import MeanOverImages
from ggl_lightning.weight_files import check_finite, differences, read_weights, some
from ggl_lightning.wrapped_weights import find_weights

Backbone: TypeAlias = Literal["vgg", "alex"]

SMALLEST_IMAGE: dict[Backbone, int] = {"vgg": 16, "alex": 31}
"""Below it, a backbone's poolings leave nothing. Images are never resized."""

_WEIGHTS: dict[Backbone, Any] = {
    "vgg": VGG16_Weights.IMAGENET1K_V1,
    "alex": AlexNet_Weights.IMAGENET1K_V1,
}


class LPIPS(MeanOverImages):
    """Learned perceptual image patch similarity (Zhang et al. 2018, arXiv 1801.03924).

    The mean over images of a weighted squared distance between unit-normalised activations of a
    backbone: at least 0, and 0 for equal images; lower is closer. Version 0.1 of the learned
    weights, on images in ``[-1, 1]`` at their own size, as the published code has it.

    Args:
        network: What `lpips_network` returns.
        **kwargs: For `torchmetrics.Metric`.
    """

    def __init__(self, network: nn.Module, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.network = network

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Adds images.

        Args:
            preds: Reconstructions ``(N, 3, H, W)`` in ``[-1, 1]``.
            target: Their private images, likewise.
        """
        with torch.autocast(preds.device.type, enabled=False):
            self.add(self.network(preds, target).flatten())


def cached_weights(backbone: Backbone) -> Path:
    """Where torch's hub cache keeps torchvision's weights of a backbone, if it has them."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(_WEIGHTS[backbone].url).name


def lpips_network(backbone: Backbone, weights: str | Path) -> nn.Module:
    """The LPIPS network of torchmetrics, with a backbone from a local file.

    The learned weights of the distance come with torchmetrics; those of the backbone are
    torchvision's, which torchmetrics would download.

    Args:
        backbone: ``vgg`` (VGG-16) or ``alex`` (AlexNet).
        weights: State dict of torchvision's ``vgg16`` or ``alexnet``, wrapped or not.

    Returns:
        A network in eval mode that maps images ``(N, 3, H, W)`` in ``[-1, 1]``, twice, to
        distances ``(N, 1, 1, 1)``.

    Raises:
        UserError: If the file is missing, damaged, of another network or not finite.
    """
    saved, _ = read_weights(weights)
    with isolate_rng():  # random weights are drawn first, and replaced
        network = _NoTrainLpips(net=backbone, pnet_rand=True)
    # Slices of torchvision's `features`: slice2.5.weight is features.5.weight.
    names = {f"features.{name.split('.', 1)[1]}": name for name in network.net.state_dict()}
    expected = {name: network.net.state_dict()[own] for name, own in names.items()}

    def misfits(tensors: Mapping[str, Tensor]) -> list[str]:
        # The file's classifier is not needed.
        features = {n: t for n, t in tensors.items() if n.startswith("features.")}
        return differences(expected, features)

    found = find_weights(saved, expected, misfits, weights)
    if found.misfits:
        raise UserError(
            f"{str(weights)!r} does not hold the weights of torchvision's "
            f"{_WEIGHTS[backbone].url.rsplit('/', 1)[-1].split('-')[0]}: {some(found.misfits)}. "
            f"It holds {found.contents}."
        )
    check_finite(found.tensors, weights)
    network.net.load_state_dict({own: found.tensors[name] for name, own in names.items()})
    return network
