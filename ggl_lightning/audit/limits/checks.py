"""One thing that was checked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One thing that was checked of a defense, or of the whole audit.

    Attributes:
        subject: The defense's name, or ``audit``.
        what: ``complete``, ``leakage``, ``identification`` or ``verdict``.
        passed: Whether it holds. What is missing does not.
        text: The number beside its limit, or why there is none; one line.
    """

    subject: str
    what: str
    passed: bool
    text: str

    def __str__(self) -> str:
        return f"{'pass' if self.passed else 'FAIL'}  {self.subject}  {self.what}: {self.text}"
