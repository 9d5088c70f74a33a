"""One cell of an audit: source x defense x attack x seed, or a control of such cells."""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import Tensor

from ggl_lightning.attacks import Attack
from ggl_lightning.audit.plan.roles import ATTACK
from ggl_lightning.audit.plan.sources.recorded import RecordedUpdate
from ggl_lightning.audit.plan.sources.simulated import name_of_images
from ggl_lightning.defenses import Defense
from ggl_lightning.errors import UserError

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
_LONGEST_NAME = 60


@dataclass(frozen=True)
class CaseSpec:
    """What sets a case apart from the others of its audit, without its images.

    Attributes:
        indices: Indices of the client's ``N`` private images in their split; empty for a recorded
            update.
        defense_name: What the user calls the defense, or, of a recorded update, what the attacker
            believes it to be; None for a control without one.
        attack_name: What the user calls the attack; None for a control without one.
        seed: Seeds the defense's noise and the search.
        role: What the case is for: the name of its `Role`.
        record: Name of the recorded update; None for private images of a split.
    """

    indices: tuple[int, ...]
    defense_name: str | None
    attack_name: str | None
    seed: int
    role: str
    record: str | None = None

    @property
    def source(self) -> str:
        """The name of its `Source`."""
        return name_of_images(self.indices) if self.record is None else self.record

    @property
    def name(self) -> str:
        """A readable name, unique in its audit and safe as a folder's name."""
        parts = [self.source, self.defense_name, self.attack_name, f"seed{self.seed}"]
        if self.role != ATTACK.name:
            parts.append(self.role)
        return "_".join(part for part in parts if part is not None)


@dataclass(frozen=True)
class Case:
    """A case ready to run.

    Attributes:
        spec: What sets it apart.
        images: The private images, ``(N, 3, H, W)`` in ``[-1, 1]``; None if they are not known.
        labels: Their labels, ``(N,)``; None if they are not known.
        defense: The defense; None for a control without one.
        attack: The attack; None for a control without one.
        recorded: The update that was recorded, already defended; None if the client is simulated.
    """

    spec: CaseSpec
    images: Tensor | None
    labels: Tensor | None
    defense: Defense | None
    attack: Attack | None
    recorded: RecordedUpdate | None = None

    @property
    def places(self) -> tuple[int, ...]:
        """By which index each private image has its decoys: in the split, or 0 to ``N - 1``."""
        return self.spec.indices if self.recorded is None else tuple(range(self.recorded.count))


@dataclass(frozen=True)
class UtilitySpec:
    """The other kind of work in an audit: federated training under one defense.

    Attributes:
        defense_name: What the user calls the defense.
    """

    defense_name: str

    @property
    def name(self) -> str:
        """Unique among the trainings of its audit and safe as a folder's name."""
        return self.defense_name


@dataclass(frozen=True)
class Idle:
    """Nothing to do, for a rank that has no share of the work."""


def check_name(what: str, name: str) -> None:
    """Raises unless a name from the configuration is safe as part of a file name.

    Args:
        what: What the name is of, e.g. ``defense``.
        name: The name.

    Raises:
        UserError: If it has other characters than letters, digits and ``_ . + -``, starts with
            one of these four, or is longer than 60.
    """
    if not _SAFE_NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise UserError(
            f"The {what} name {name!r} becomes part of file names: use letters, digits and "
            f"'_', '.', '+', '-' only, begin with a letter or digit, and use {_LONGEST_NAME} "
            "characters at the most."
        )
