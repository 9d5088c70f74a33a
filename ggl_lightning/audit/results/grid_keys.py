"""What an audit is, for a run folder to tell whether its results belong there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ggl_lightning.audit.results.schema import Row


@dataclass(frozen=True)
class GridKeys:
    """The keys of an audit, and what its results have in common with those of larger grids.

    Attributes:
        cases: The key of every case, by its name.
        trainings: Likewise, of every federated training.
        setting: What all cases share, see `row`.
        defenses: What `describe` says of the defenses, by name.
        attacks: Likewise, of the attacks.
        utility: Likewise, of the federated training; None without one.
    """

    cases: dict[str, str]
    trainings: dict[str, str] = field(default_factory=dict)
    setting: Mapping[str, str] = field(default_factory=dict)
    defenses: Mapping[str, Any] = field(default_factory=dict)
    attacks: Mapping[str, Any] = field(default_factory=dict)
    utility: Any = None

    def could_hold(self, result: Row) -> bool:
        """Whether a grid with more images, seeds, defenses or attacks would have a result.

        Args:
            result: The row of a case or of a federated training that is not in this grid.
        """
        details = result.get("details") or {}
        if "role" in result:
            same = details.get("setting") == dict(self.setting)
        else:
            same = result.get("client") == self.setting.get("client") and (
                self.utility is None or _alike(self.utility, result.get("settings"))
            )
        return (
            same
            and _named(self.defenses, result.get("defense"), result.get("defense_parameters"))
            and _named(self.attacks, result.get("attack"), details.get("attack"))
        )


def _named(known: Mapping[str, Any], name: str | None, found: Any) -> bool:
    """Whether a name stands for nothing else here than there."""
    return name is None or name not in known or _alike(known[name], found)


def _alike(ours: Any, found: Any) -> bool:
    return bool(json.loads(json.dumps(ours)) == found)
