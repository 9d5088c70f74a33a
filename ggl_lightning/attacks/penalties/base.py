"""What every penalty is: what an attacker holds to be unlikely of images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ggl_lightning.errors import check_non_negative

if TYPE_CHECKING:
    from ggl_lightning.attacks.base import Target


class Penalty(ABC):
    """Added to the distance of updates, times its weight.

    Its public attributes are its parameters: they identify it in results.

    Attributes:
        weight: Its weight.
        needs_consensus: Whether it compares a candidate with the others of its population.

    Args:
        weight: As the attribute.

    Raises:
        UserError: If ``weight`` is negative.
    """

    needs_consensus: bool = False

    def __init__(self, weight: float) -> None:
        check_non_negative(f"weight of {type(self).__name__}", weight)
        self.weight = weight

    def problems(self, target: Target, population: int) -> list[str]:
        """What stands in the way, a sentence each.

        Args:
            target: What is to be attacked.
            population: How many candidates are evaluated together.
        """
        return []

    @abstractmethod
    def __call__(self, images: Tensor, model: nn.Module, consensus: Tensor | None) -> Tensor:
        """Evaluates candidates, each by itself.

        Args:
            images: ``(C, N, 3, H, W)``.
            model: The client model, in eval mode; hooks may be put on it and taken off again.
            consensus: The mean image over the population, ``(N, 3, H, W)``; None if no penalty
                needs it, or a candidate is evaluated alone.

        Returns:
            ``(C,)``, without the weight, differentiable with respect to the images.
        """
