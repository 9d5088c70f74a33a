"""FMSE: how differently the client model classifies reconstruction and private image."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ggl_lightning.metrics.client_features import client_features
from ggl_lightning.metrics.mean_over_images import MeanOverImages


class FeatureMSE(MeanOverImages):
    """Mean squared difference of the client model's logits.

    Per image ``(1/K) sum_k (f_k(reconstruction) - f_k(private image))^2`` over the ``K`` logits
    ``f``, then the mean over images: at least 0, in squared units of logits. The "FMSE" of Geiping
    et al. 2020 (arXiv 2003.14053) and of the published GGL code. Values compare only between
    audits of one client model.

    Args:
        client_model: The client model, in eval mode, on the metric's device.
        last_layer: Its layer that outputs the logits.
        **kwargs: For `torchmetrics.Metric`.
    """

    def __init__(self, client_model: nn.Module, last_layer: nn.Linear, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.client_model = client_model
        self.last_layer = last_layer

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Adds images.

        Args:
            preds: Reconstructions ``(N, 3, H, W)`` in ``[-1, 1]``.
            target: Their private images, likewise.
        """
        _, logits = client_features(self.client_model, self.last_layer, preds)
        _, private = client_features(self.client_model, self.last_layer, target)
        self.add((logits - private).square().mean(dim=1))
