"""Where configurations of version 0.1 find what `ggl_lightning.audit` exports by now."""

from ggl_lightning.audit.plan.selection import ClassBalancedImages, RandomImages

__all__ = ["ClassBalancedImages", "RandomImages"]
