"""How far the images of a population of candidates are from given ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from ggl_lightning.attacks.matching.distance import Measured
from ggl_lightning.attacks.matching.micro_batching import MicroBatching

_BYTES_PER_VALUE = 12  # a float32, its difference, and that squared


class ImageDistances:
    """Mean squared error in image space, in the place of distances between updates.

    No attacker has it: it takes the private images themselves. It bounds what can be reached.

    Args:
        images: The images ``(N, 3, H, W)`` in ``[-1, 1]``.
        evaluation: In which parts populations are evaluated.
    """

    def __init__(self, images: Tensor, evaluation: MicroBatching) -> None:
        self._images = images
        self.evaluation = evaluation

    def measured(self, images: Tensor, labels: Tensor) -> Measured:
        """Evaluates candidates together, in one part.

        Args:
            images: The images of each candidate, ``(C, N, 3, H, W)``, in the given ones' order.
            labels: Of no effect.

        Returns:
            Mean squared errors, ``(C, 1)``, differentiable.
        """
        errors = (images - self._images).square().flatten(1).mean(dim=1, keepdim=True)
        return Measured(errors, None)

    def bytes_per_candidate(self, shape: Sequence[int], differentiable: bool) -> int:
        """What a candidate with images of a ``shape`` takes, beside these."""
        return _BYTES_PER_VALUE * math.prod(shape)
