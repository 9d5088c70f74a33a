"""Puts arguments into an order in which none is lost in silence."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_NEGATIVE = re.compile(r"-\d+$|-\d*\.\d+$")  # a value and no option, as for argparse
_CONFIG = {"config", "c"}


@dataclass(frozen=True)
class Option:
    """One option of a command line.

    Attributes:
        name: Without dashes, and without the ``+`` that appends to a list.
        value: Its value; None if it stands alone.
        tokens: As written.
        appends: Whether it appends to a list.
    """

    name: str
    value: str | None
    tokens: tuple[str, ...]
    appends: bool = False

    @property
    def is_config(self) -> bool:
        """Whether it names a configuration file."""
        return self.name in _CONFIG

    def is_below(self, name: str) -> bool:
        """Whether it sets a part of what another name sets."""
        return self.name.startswith(f"{name}.")


def split(arguments: Sequence[str]) -> tuple[list[str], list[Option]]:
    """What stands before the first option, and all options.

    Args:
        arguments: A command line.
    """
    before: list[str] = []
    options: list[Option] = []
    for token in arguments:
        if token.startswith("-") and len(token) > 1 and not _NEGATIVE.match(token):
            name, equals, value = token.partition("=")
            appends = name.endswith("+")
            name = name.lstrip("-").removesuffix("+")
            options.append(Option(name, value if equals else None, (token,), appends))
        elif not options:
            before.append(token)
        else:
            last = options.pop()
            value = token if last.value is None else last.value
            options.append(Option(last.name, value, (*last.tokens, token), last.appends))
    return before, options


def join(options: Iterable[Option]) -> list[str]:
    """Options as a command line."""
    return [token for option in options for token in option.tokens]


def arranged(options: Sequence[Option]) -> list[Option]:
    """Options in an order in which none undoes another.

    Configuration files come first, then what names a whole before what names its parts: the class
    of an object, or a file with it, would replace arguments that were given before it. Of an option
    that is given again with another value the last counts, as everywhere, and that is said.

    Args:
        options: As given.
    """
    appended = {option.name for option in options if option.appends}

    def appends(option: Option) -> str | None:
        return next((n for n in appended if option.name == n or option.is_below(n)), None)

    last = {option.name: option for option in options}
    kept = []
    for option in options:
        counts = last[option.name]
        if option.is_config or appends(option) is not None or option.value == counts.value:
            kept.append(option)
        else:
            print(
                f"--{option.name} is given more than once: {counts.value} counts, and "
                f"{option.value} does not.",
                file=sys.stderr,
            )

    def depth(option: Option) -> int:
        return -1 if option.is_config else (appends(option) or option.name).count(".")

    return sorted(kept, key=depth)
