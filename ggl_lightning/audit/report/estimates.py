"""Numbers with their intervals, read from the statistics and written for a reader."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MISSING = "\N{EM DASH}"


@dataclass(frozen=True)
class Estimate:
    """One number of the statistics.

    Attributes:
        value: The number; None if there is none.
        low: Lower end of its interval; None if there is no interval.
        high: Upper end, likewise.
        count: How many images or cases it is over, if that is known.
        reason: Why the number, or else its interval, is missing.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    count: int | None = None
    reason: str | None = None

    @property
    def has_interval(self) -> bool:
        """Whether both ends are known."""
        return self.low is not None and self.high is not None

    def format(self, digits: int, percent: bool = False) -> str:
        """The number, ``—`` if it is missing."""
        return MISSING if self.value is None else format_number(self.value, digits, percent)

    def format_interval(self, digits: int, percent: bool = False) -> str:
        """The interval, with a dash between its ends or, beside a minus sign, with ``to``.

        ``—`` if it is missing.
        """
        if self.low is None or self.high is None:
            return MISSING
        low, high = (format_number(end, digits, percent) for end in (self.low, self.high))
        if "\N{MINUS SIGN}" in low + high:
            return f"{low} to {high}"
        return f"{low.removesuffix('%')}\N{EN DASH}{high}"


def read_estimate(entry: Mapping[str, Any] | None, value: str, otherwise: str) -> Estimate:
    """Reads an entry of the statistics.

    Args:
        entry: ``{VALUE, "low", "high", "count"}``, with ``interval_missing`` where there is no
            interval, or ``{"missing": reason}``; None if absent.
        value: Name of the number in it, such as ``mean``.
        otherwise: The reason if it is missing and the statistics give none.
    """
    if entry is None or entry.get(value) is None:
        return Estimate(reason=(entry or {}).get("missing") or otherwise)
    low, high = entry.get("low"), entry.get("high")
    reason = None
    if low is None or high is None:
        low = high = None
        reason = entry.get("interval_missing") or "no interval was computed"
    return Estimate(entry[value], low, high, entry.get("count"), reason)


def format_number(value: float, digits: int, percent: bool = False) -> str:
    """A number with a true minus sign and a fixed number of decimals.

    Args:
        value: The number.
        digits: Decimals; for percent, of the percentage.
        percent: Shown as a percentage.
    """
    if math.isinf(value):
        return "\N{INFINITY}" if value > 0 else "\N{MINUS SIGN}\N{INFINITY}"
    scaled = 100 * value if percent else value
    text = f"{scaled:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "\N{MINUS SIGN}") + ("%" if percent else "")


def format_duration(seconds: float) -> str:
    """A time span in its two largest units, such as ``3 h 20 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def format_count(count: int) -> str:
    """An integer with its thousands set apart by thin spaces."""
    return f"{count:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def format_significant(value: float, digits: int = 3) -> str:
    """A number with as many decimals as its size calls for; exponents only for extremes."""
    if value == 0 or not math.isfinite(value):
        return format_number(value, 0)
    exponent = math.floor(math.log10(abs(value)))
    if -5 <= exponent < 6:
        return format_number(value, max(0, digits - 1 - exponent))
    return f"{value:.{digits - 1}e}".replace("-", "\N{MINUS SIGN}")
