"""Priors: generators with a latent space to search."""

from ggl_lightning.priors.base import Prior
from ggl_lightning.priors.wgan_gp_prior import WGANGPPrior

__all__ = ["Prior", "WGANGPPrior"]
