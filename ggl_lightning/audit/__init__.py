"""The audit: a grid of cases, run and scored under Lightning's Trainer, kept in a run folder."""

from ggl_lightning.audit.data_module import AuditDataModule
from ggl_lightning.audit.module import AuditModule

__all__ = ["AuditDataModule", "AuditModule"]
