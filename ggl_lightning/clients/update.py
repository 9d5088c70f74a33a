"""The update a client sends: the gradient of its loss on its private images."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Update: TypeAlias = list[Tensor]
"""One tensor per parameter of the client model, in ``model.parameters()`` order."""


def client_update(model: nn.Module, images: Tensor, labels: Tensor) -> Update:
    """Gradient of the mean cross-entropy with respect to every parameter of the client model.

    Works whatever the surrounding grad mode is (``Trainer.test`` disables gradients), and leaves
    the parameters' ``.grad`` alone.

    Args:
        model: The client model, in the mode (eval or train) the client uses.
        images: Private images ``(N, 3, H, W)`` in ``[-1, 1]``.
        labels: Their labels ``(N,)``, int64.

    Returns:
        The update, detached.
    """
    with torch.enable_grad():
        loss = F.cross_entropy(model(images), labels)
        return list(torch.autograd.grad(loss, list(model.parameters())))
