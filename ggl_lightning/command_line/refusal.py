"""Takes an exception past a library that catches every `Exception`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Refusal(BaseException):
    """Carries an exception out of jsonargparse.

    jsonargparse tries the types of a union one after the other, catches whatever an attempt raises
    and reports all of them together. What is wrong with a file or with an object's arguments
    does not depend on the type that is tried, and has its own words.

    Args:
        error: What is raised in the end.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


@contextmanager
def surfacing() -> Iterator[None]:
    """Raises what a `Refusal` carries instead of the `Refusal`.

    Raises:
        Exception: What the `Refusal` carries.
    """
    try:
        yield
    except Refusal as refusal:
        raise refusal.error  # noqa: B904 - the carrier explains nothing
