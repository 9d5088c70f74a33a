"""The gate: everything about an audit that can be known before its first search."""

from ggl_lightning.audit.gate.check import Candidate, check_audit

__all__ = ["Candidate", "check_audit"]
