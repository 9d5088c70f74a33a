"""How far the images of a population of candidates are from given ones."""

from __future__ import annotations

from torch import Tensor


class ImageDistances:
    """Mean squared error in image space, in the place of distances between updates.

    No attacker has it: it takes the private images themselves. It bounds what can be reached.

    Args:
        images: The images ``(N, 3, H, W)`` in ``[-1, 1]``.
    """

    def __init__(self, images: Tensor) -> None:
        self._images = images

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Evaluates a population.

        Args:
            images: The images of each candidate, ``(C, N, 3, H, W)``, in the given ones' order.
            labels: Of no effect.

        Returns:
            Mean squared errors, ``(C, 1)``, differentiable.
        """
        return (images - self._images).square().flatten(1).mean(dim=1, keepdim=True)
