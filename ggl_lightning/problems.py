"""Collects everything that stands in the way of a run, so that the user mends it all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from ggl_lightning.errors import UserError

_Result = TypeVar("_Result")


class Problems:
    """What checks before a run have found wrong.

    Each problem is one sentence that names the value, what was expected and how to mend it.
    """

    def __init__(self) -> None:
        self._found: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def add(self, problem: str) -> None:
        """Notes a problem, unless the same one is known already.

        Args:
            problem: Text for the user.
        """
        if problem not in self._found:
            self._found.append(problem)

    def extend(self, problems: Iterable[str]) -> None:
        """Notes several problems.

        Args:
            problems: Texts for the user.
        """
        for problem in problems:
            self.add(problem)

    def of(self, check: Callable[[], _Result]) -> _Result | None:
        """Runs a check and notes the `UserError` that it raises, if it does.

        Args:
            check: Raises `UserError` if something is wrong; other exceptions are bugs and pass.

        Returns:
            What the check returns; None if it raised.
        """
        try:
            return check()
        except UserError as error:
            self.extend(error.problems)
            return None

    def raise_if_any(self) -> None:
        """Raises one `UserError` with all problems, if there are any.

        Raises:
            UserError: With every problem on a line of its own, and each in its ``problems``.
        """
        if self._found:
            raise UserError(*self._found)
