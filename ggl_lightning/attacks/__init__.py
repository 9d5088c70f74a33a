"""Attacks: label inference, objective, searches, and the loop that runs them."""

from ggl_lightning.attacks.attack import GenerativeGradientLeakage, Received, Reconstruction

__all__ = ["GenerativeGradientLeakage", "Received", "Reconstruction"]
