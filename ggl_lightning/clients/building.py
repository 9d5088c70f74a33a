"""A client model from what YAML gives for it."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn


def build_client_model(client_model: Callable[[], nn.Module] | nn.Module) -> nn.Module:
    """Builds a client model.

    The command line hands over a class, or a function such as ``torchvision.models.resnet18``, to
    be called. If a function has arguments of its own, it has been called already.

    Args:
        client_model: What builds it, or the model itself.
    """
    return client_model if isinstance(client_model, nn.Module) else client_model()
