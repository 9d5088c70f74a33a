"""Priors: generators with a latent space to search."""

from ggl_lightning.priors.base import Prior
from ggl_lightning.priors.biggan import BigGANPrior
from ggl_lightning.priors.module_prior import ModulePrior
from ggl_lightning.priors.wgan_gp_prior import WGANGPPrior

__all__ = ["BigGANPrior", "ModulePrior", "Prior", "WGANGPPrior"]
