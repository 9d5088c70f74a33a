"""Whether an audit's worst case stays within limits, for tests of other projects."""

from ggl_lightning.audit.limits.checks import Check
from ggl_lightning.audit.limits.judge import check_results
from ggl_lightning.audit.limits.limits import Limits

__all__ = ["Check", "Limits", "check_results"]
