"""A trained classifier by its architecture and its file, as YAML names it."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ggl_lightning.clients.building import build_client_model
from ggl_lightning.clients.trained import load_trained_client


class TrainedClassifier:
    """Describes a classifier of images ``(N, 3, H, W)`` in ``[-1, 1]`` that was trained before.

    Args:
        client_model: Builds its architecture, or is it.
        weights: Its file, as `load_trained_client` takes it.
    """

    def __init__(self, client_model: Callable[[], nn.Module] | nn.Module, weights: str) -> None:
        self.client_model = client_model
        self.weights = weights

    def build(self) -> nn.Module:
        """Builds the classifier and loads its weights; in eval mode.

        Raises:
            UserError: If the file is missing, damaged or of another architecture.
        """
        model = build_client_model(self.client_model).eval()
        load_trained_client(model, self.weights)
        return model
