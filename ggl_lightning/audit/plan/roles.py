"""What a case is for, and which cases it is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Standing(StrEnum):
    """Where a role's numbers stand on the scale of leakage.

    * ``attack``: what is measured.
    * ``null``: what an attacker scores who learns nothing of the private image: 0.
    * ``bound``: what the best one could score with this prior, search and budget: 1.
    """

    attack = "attack"
    null = "null"
    bound = "bound"


@dataclass(frozen=True)
class Role:
    """What cases are for.

    Attributes:
        name: In configurations and results.
        title: For readers, in a table or above a picture.
        description: What is in the place of the received update, as a phrase.
        standing: Where its numbers stand.
        has_defense: Whether its cases have a defense. A control is compared with the attacks on its
            private images with its seed; where its cases have a defense, with those under it.
        has_attack: Whether its cases have an attack, likewise.
    """

    name: str
    title: str
    description: str
    standing: Standing
    has_defense: bool
    has_attack: bool

    def names(self, defense: str | None, attack: str | None) -> tuple[str | None, str | None]:
        """The defense and attack of its case that is compared with an attack's case.

        Args:
            defense: The attack's defense.
            attack: The attack.
        """
        return defense if self.has_defense else None, attack if self.has_attack else None


ATTACK = Role(
    "attack",
    "attack",
    "the received update itself",
    Standing.attack,
    has_defense=True,
    has_attack=True,
)
"""The attack under audit: the role of every case that is no control."""
