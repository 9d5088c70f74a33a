"""Generative gradient leakage: train a prior, audit a federated-learning defense."""

from typing import TYPE_CHECKING, Any

from ggl_lightning._torchvision_repair import repair_torchvision

if TYPE_CHECKING:
    from ggl_lightning.api import audit_update

# Before anything imports torchvision, torchmetrics or pytorch_lightning.
repair_torchvision()

__version__ = "0.2.0"

__all__ = ["__version__", "audit_update"]


def __getattr__(name: str) -> Any:
    """Imports what needs everything when it is asked for: recorders need next to nothing."""
    if name == "audit_update":
        from ggl_lightning.api import audit_update

        return audit_update
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
