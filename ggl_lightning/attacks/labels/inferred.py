"""Labels that an attacker read off an update."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

FROZEN_LAST_LAYER = (
    "The client model's last layer is frozen, so that its update says nothing of labels: let that "
    "layer be trained (requires_grad), or set known_label of every attack."
)
"""What to tell the user then."""


@dataclass(frozen=True)
class InferredLabels:
    """Labels read off an update.

    Attributes:
        labels: Class indices in ascending order, one per private image, repeats included.
        margin: How certain they are, from 0, a guess, to 1. As `way` has it: how far the best class
            not chosen is behind the last one chosen, as a fraction of the spread of all classes,
            less by what contradicts it, where that shows; or how far the counts solved for are
            from being halfway between two whole numbers.
        way: How they were read, in words: the rule that was used.
    """

    labels: list[int]
    margin: float
    way: str

    @property
    def counts(self) -> dict[int, int]:
        """How many images each class that occurs has."""
        return dict(Counter(self.labels))
