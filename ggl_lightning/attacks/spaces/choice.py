"""Which space an attack searches, as settings have it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from ggl_lightning.attacks.spaces.base import SearchSpace

if TYPE_CHECKING:
    from ggl_lightning.attacks.base import Target


@dataclass(frozen=True)
class Reached:
    """What the search before found.

    Attributes:
        space: Its space.
        point: Its answer, one point of the space.
        labels: The labels of the point's images, ``(N,)``, on the space's device.
    """

    space: SearchSpace
    point: Tensor
    labels: Tensor

    def images(self) -> Tensor:
        """The point's images ``(N, 3, H, W)``."""
        return self.space.images(self.point.unsqueeze(0), self.labels)[0]


class SpaceChoice(ABC):
    """Says in what spaces an attack searches, one after the other.

    Its public attributes are its parameters: they identify it in results.

    Attributes:
        needs_prior: Whether its images are a prior's.
        searches_labels: Whether labels are searched for with the images.
        normal_start: Whether the first of its spaces is one that searches which do not descend on
            gradients know their way in: those begin around ``N(0, I)``.
    """

    needs_prior: bool = False
    searches_labels: bool = False
    normal_start: bool = False

    @property
    def stages(self) -> int:
        """How many searches there are, one after the other."""
        return 1

    def problems(self, target: Target) -> list[str]:
        """What stands in the way, a sentence each.

        Args:
            target: What is to be attacked; with a prior if one is needed.
        """
        return []

    @abstractmethod
    def space(self, target: Target, stage: int, reached: Reached | None) -> SearchSpace:
        """The space of one stage.

        Args:
            target: What is attacked.
            stage: Which, from 0.
            reached: What the stage before found; None of the first.
        """
