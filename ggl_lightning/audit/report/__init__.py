"""The report of an audit: one page and its tables, built from what is on disk alone."""

from ggl_lightning.audit.report.build import build_report, write_report

__all__ = ["build_report", "write_report"]
