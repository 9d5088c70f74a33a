"""What an audit's results say, with intervals."""

from ggl_lightning.audit.statistics.compute import compute_statistics

__all__ = ["compute_statistics"]
