"""The report of an audit: one page and its tables, built from what is on disk alone."""

from ggl_lightning.audit.report.build import build_report, write_report
from ggl_lightning.audit.report.collect import collect

__all__ = ["build_report", "collect", "write_report"]
