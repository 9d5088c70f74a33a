"""How far the updates of a population of candidate images are from the received update."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ggl_lightning.clients import Update, client_update
from ggl_lightning.errors import UserError


class UpdateDistances:
    """Squared distances between candidates' updates and the received one, per parameter tensor.

    This is where a population is turned into distances, and the only part of the objective that
    knows how: it evaluates the candidates one by one.

    Args:
        model: The client model, in eval mode.
        received: The received update.

    Raises:
        UserError: If the model is in training mode, where batch statistics would couple the
            candidates, or the update does not fit the model's parameters.
    """

    def __init__(self, model: nn.Module, received: Update) -> None:
        if any(module.training for module in model.modules()):
            raise UserError(
                "The client model must be in eval mode for an attack (model.eval()): in training "
                "mode batch statistics and dropout would couple the candidates."
            )
        expected = [tuple(parameter.shape) for parameter in model.parameters()]
        found = [tuple(tensor.shape) for tensor in received]
        if expected != found:
            raise UserError(
                f"The received update has {len(found)} tensors that do not match the client "
                f"model's {len(expected)} parameters: it was computed with another model."
            )
        self._model = model
        self._received = received

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Evaluates a population.

        Args:
            images: One image per candidate, ``(C, 3, H, W)`` in ``[-1, 1]``.
            labels: One label per candidate, ``(C,)``.

        Returns:
            ``||g_l(image_c) - y_l||^2`` for candidate ``c`` and parameter tensor ``l``: ``(C, L)``.
        """
        return torch.stack(
            [
                self._one(image, label)
                for image, label in zip(images.split(1), labels.split(1), strict=True)
            ]
        )

    def _one(self, image: Tensor, label: Tensor) -> Tensor:
        update = client_update(self._model, image, label)
        return torch.stack(
            [
                (ours - theirs).square().sum()
                for ours, theirs in zip(update, self._received, strict=True)
            ]
        )
