"""Learned inversion in closed form: a regression from updates to images on public images."""

from ggl_lightning.attacks.learned.inversion import LearnedInversion

__all__ = ["LearnedInversion"]
