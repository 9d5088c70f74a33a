"""Generative gradient leakage: train a prior, audit a federated-learning defense."""

from ggl_lightning._torchvision_repair import repair_torchvision

# Before anything imports torchvision, torchmetrics or pytorch_lightning.
repair_torchvision()

__version__ = "0.1.0"

__all__ = ["__version__"]
