"""What an update gives away without any search or training: closed forms."""

from ggl_lightning.attacks.analytic.first_linear import FirstLinearInversion

__all__ = ["FirstLinearInversion"]
