"""One colour per defense, one marker per attack, the same in every figure and legend.

Figures are drawn in stand-in colours that `svg.inline` turns into CSS variables, so that one
figure suits light and dark pages. The page's style sheet gives the variables their values:
seven hues after Okabe and Ito's palette, which colour-blind readers can tell apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

HUES = 7
INK = "#0a0a01"
MUTED = "#0a0a02"
GRID = "#0a0a03"
SURFACE = "#0a0a04"

_CSS = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    SURFACE: "var(--surface)",
}
_HUE_STANDINS = [f"#0b0b0{i + 1}" for i in range(HUES)]

MARKERS = {
    "o": '<circle cx="8" cy="8" r="5"/>',
    "s": '<path d="M3.5 3.5h9v9h-9z"/>',
    "^": '<path d="M8 2.5l6 11H2z"/>',
    "D": '<path d="M8 2l6 6-6 6-6-6z"/>',
    "v": '<path d="M8 13.5l6-11H2z"/>',
    "P": '<path d="M5.8 2.5h4.4v3.3h3.3v4.4h-3.3v3.3H5.8v-3.3H2.5V5.8h3.3z"/>',
    "<": '<path d="M2.5 8l11-6v12z"/>',
    ">": '<path d="M13.5 8l-11-6v12z"/>',
}
"""matplotlib's markers, each with its shape for a legend: SVG in a box of 16 by 16."""

DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
"""Line styles of the attacks, where lines and not points are drawn."""


class Palette:
    """Looks of defenses and attacks.

    Args:
        defenses: Names of the defenses in order; undefended ones are drawn in the text's colour.
        attacks: Names of the attacks in order.
        parameters: The defenses' class and parameters by their name.
    """

    def __init__(
        self,
        defenses: Sequence[str],
        attacks: Sequence[str],
        parameters: Mapping[str, Mapping[str, Any]],
    ) -> None:
        undefended = {name for name in defenses if is_undefended(parameters.get(name, {}))}
        hues = iter(range(len(defenses)))
        self._hues = {name: None if name in undefended else next(hues) for name in defenses}
        self._attacks = list(attacks)

    def color(self, defense: str) -> str:
        """The stand-in colour of a defense, for matplotlib."""
        hue = self._hues[defense]
        return INK if hue is None else _HUE_STANDINS[hue % HUES]

    def css(self, defense: str) -> str:
        """The colour of a defense as CSS."""
        hue = self._hues[defense]
        return _CSS[INK] if hue is None else f"var(--hue-{hue % HUES + 1})"

    def filled(self, defense: str) -> bool:
        """Whether its markers are filled: open ones tell a hue's second use from its first."""
        hue = self._hues[defense]
        return hue is None or (hue // HUES) % 2 == 0

    def marker(self, attack: str) -> str:
        """The marker of an attack, for matplotlib."""
        return list(MARKERS)[self._attacks.index(attack) % len(MARKERS)]

    def dashes(self, attack: str) -> Any:
        """The line style of an attack, for matplotlib."""
        return DASHES[self._attacks.index(attack) % len(DASHES)]


def is_undefended(parameters: Mapping[str, Any]) -> bool:
    """Whether these are the parameters of the defense that leaves the update as it is."""
    return str(parameters.get("class", "")).rpartition(".")[2] == "NoDefense"


def css_colors() -> dict[str, str]:
    """CSS by stand-in colour."""
    hues = {standin: f"var(--hue-{i + 1})" for i, standin in enumerate(_HUE_STANDINS)}
    return {**_CSS, **hues}
