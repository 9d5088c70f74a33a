"""The audit: a grid of cases, run and scored under Lightning's Trainer, kept in a run folder."""

from ggl_lightning.audit.plan.data_module import AuditDataModule
from ggl_lightning.audit.plan.public_images import PublicImages
from ggl_lightning.audit.plan.selection import ClassBalancedImages, RandomImages
from ggl_lightning.audit.run.module import AuditModule

__all__ = [
    "AuditDataModule",
    "AuditModule",
    "ClassBalancedImages",
    "PublicImages",
    "RandomImages",
]
