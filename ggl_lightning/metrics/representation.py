"""MSE-R and RMSE-R: distance of reconstruction and private image in the client's features."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ggl_lightning.metrics.client_features import client_features
from ggl_lightning.metrics.mean_over_images import MeanOverImages


class RepresentationMSE(MeanOverImages):
    """Mean squared difference of the input of the client model's last layer.

    Per image ``(1/F) sum_f (r_f(reconstruction) - r_f(private image))^2`` over the ``F`` features
    ``r`` that the last layer gets, then the mean over images: at least 0, in squared units of
    features. This is the "MSE-R" of the GGL paper's tables (Li et al. 2022, arXiv 2203.15696),
    which the published code logs as "RMSE" although it takes no root. Values compare only between
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
        self.add(self._squared_distance(preds, target))

    def _squared_distance(self, preds: Tensor, target: Tensor) -> Tensor:
        found, _ = client_features(self.client_model, self.last_layer, preds)
        private, _ = client_features(self.client_model, self.last_layer, target)
        return (found - private).square().mean(dim=1)


class RepresentationRMSE(RepresentationMSE):
    """The root of each image's `RepresentationMSE`, then the mean over images.

    In units of features, and what the name "RMSE-R" says; square one image's value to compare it
    with the published tables.
    """

    def update(self, preds: Tensor, target: Tensor) -> None:
        """See `RepresentationMSE.update`."""
        self.add(self._squared_distance(preds, target).sqrt())
