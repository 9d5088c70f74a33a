"""Which defenses are one defense at several strengths."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from ggl_lightning.audit.report.groups import Group


@dataclass(frozen=True)
class Sweep:
    """One parameter of a defense class, at several values.

    Attributes:
        defense_class: The class's name without its module.
        parameter: The parameter that varies.
        lines: Groups that differ in this parameter alone, of one attack, by rising value.
    """

    defense_class: str
    parameter: str
    lines: tuple[tuple[Group, ...], ...]

    def value(self, group: Group) -> float:
        """The group's value of the parameter."""
        return float(group.parameters[self.parameter])


def find_sweeps(groups: Sequence[Group]) -> list[Sweep]:
    """Every numeric parameter of a defense class that takes several values, all else equal."""
    found: dict[tuple[str, str], list[tuple[Group, ...]]] = {}
    alike: dict[tuple[str, str, str], list[Group]] = {}
    for group in groups:
        for parameter, value in group.parameters.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                others = {k: v for k, v in group.parameters.items() if k != parameter}
                fixed = json.dumps([others, group.attack], sort_keys=True)
                alike.setdefault((str(others.get("class")), parameter, fixed), []).append(group)
    for (defense_class, parameter, _), members in alike.items():
        if len({group.parameters[parameter] for group in members}) > 1:
            line = tuple(sorted(members, key=lambda group: group.parameters[parameter]))
            found.setdefault((defense_class, parameter), []).append(line)
    return [
        Sweep(defense_class.rpartition(".")[2], parameter, tuple(lines))
        for (defense_class, parameter), lines in sorted(found.items())
    ]
