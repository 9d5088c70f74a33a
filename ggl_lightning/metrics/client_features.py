"""What a client model makes of images: its last layer's input and output."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ggl_lightning.errors import UserError


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
