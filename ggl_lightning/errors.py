"""Errors that a user can fix, and the checks that raise them.

Anything that is the user's to mend (a path, a number, a name) raises a `UserError` whose
message names the value, says what was expected and how to fix it. The command line prints
that message alone and exits with code 2; every other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable


class UserError(Exception):
    """Bad input: a wrong value in the configuration, or missing or corrupt files.

    Args:
        problems: Texts for the user, one for each thing that is wrong.

    Attributes:
        problems: The same, at least one.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return str(self.problems[0])
        listing = "".join(f"\n  - {problem}" for problem in self.problems)
        return f"{len(self.problems)} things stand in the way:{listing}"


def check_positive(name: str, value: float) -> None:
    """Raises `UserError` unless ``value`` is a finite number above 0.

    Args:
        name: How the user knows the setting, e.g. ``budget``.
        value: The setting's value.

    Raises:
        UserError: If ``value`` is zero, negative or not a finite number.
    """
    if not 0 < value < math.inf:
        raise UserError(f"{name} is {value}: it must be a number greater than 0.")


def check_non_negative(name: str, value: float) -> None:
    """Raises `UserError` unless ``value >= 0``.

    Args:
        name: How the user knows the setting.
        value: The setting's value.

    Raises:
        UserError: If ``value`` is negative or not a finite number.
    """
    if not 0 <= value < math.inf:
        raise UserError(f"{name} is {value}: it must be a number not below 0.")


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raises `UserError` unless ``value`` is among ``choices``; the message suggests the nearest.

    Args:
        name: How the user knows the setting.
        value: The setting's value.
        choices: All allowed values.

    Raises:
        UserError: If ``value`` is none of them.
    """
    allowed = list(choices)
    if value in allowed:
        return
    # Case is the commonest slip, and difflib does not forgive it.
    by_lower: dict[str, str] = {}
    for choice in allowed:
        by_lower.setdefault(choice.lower(), choice)
    close = difflib.get_close_matches(value.lower(), list(by_lower), n=3, cutoff=0.5)
    hint = (
        f"Did you mean {', '.join(repr(by_lower[c]) for c in close)}?"
        if close
        else f"Known: {', '.join(sorted(allowed)[:20])}{' ...' if len(allowed) > 20 else ''}."
    )
    raise UserError(f"{name} is {value!r}, which is not known. {hint}")
