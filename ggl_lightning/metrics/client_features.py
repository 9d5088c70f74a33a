"""What a client model makes of images, and the base of metrics that compare it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from ggl_lightning.errors import UserError
from ggl_lightning.metrics.mean_over_images import MeanOverImages


class ClientFeatureDistance(MeanOverImages):
    """Mean over images of how differently the client model sees reconstruction and private image.

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
        found = client_features(self.client_model, self.last_layer, preds)
        private = client_features(self.client_model, self.last_layer, target)
        self.add(self.distance(found, private))

    @abstractmethod
    def distance(self, found: tuple[Tensor, Tensor], private: tuple[Tensor, Tensor]) -> Tensor:
        """One distance per image, ``(N,)``.

        Args:
            found: `client_features` of the reconstructions.
            private: `client_features` of the private images.
        """


def client_features(
    client_model: nn.Module, last_layer: nn.Linear, images: Tensor
) -> tuple[Tensor, Tensor]:
    """Representation and logits of images.

    Computed in the model's own precision, also under autocast, so that distances between them
    are not those of rounding.

    Args:
        client_model: The client model, in eval mode.
        last_layer: Its layer that outputs the logits.
        images: ``(N, 3, H, W)`` in ``[-1, 1]``.

    Returns:
        The last layer's input ``(N, F)`` and its output, the logits ``(N, K)``.

    Raises:
        UserError: If the model is in train mode: batch statistics would make an image's features
            depend on the other images.
    """
    if client_model.training:
        raise UserError(
            "The client model is in train mode: features of images are those of its eval mode. "
            "Call client_model.eval() first."
        )
    inputs: list[Tensor] = []
    handle = last_layer.register_forward_pre_hook(lambda _layer, given: inputs.append(given[0]))
    try:
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            logits = client_model(images)
    finally:
        handle.remove()
    return inputs[-1], logits
