"""What every search space is: points that a search moves, and the images they stand for."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class SearchSpace(ABC):
    """What a search moves in and how it becomes images.

    A point stands for the images of one client; ``C`` points make a population. A `SpaceChoice`
    makes spaces of what an attacker has.
    """

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where images are made."""

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """What makes the images, for estimates of memory."""

    @abstractmethod
    def shape(self, count: int) -> tuple[int, ...]:
        """Shape of a point that stands for ``count`` images."""

    @abstractmethod
    def images(self, points: Tensor, labels: Tensor) -> Tensor:
        """Makes the images.

        Args:
            points: ``(C, *shape)``, on any device.
            labels: The label of each image, ``(N,)``, on the space's device.

        Returns:
            Images ``(C, N, 3, H, W)``, differentiable with respect to the points; in ``[-1, 1]``,
            unless a space sets a search no bounds.
        """

    def probabilities(self, points: Tensor) -> Tensor | None:
        """How likely each label is of each image, where labels are searched for with the images.

        Args:
            points: ``(C, *shape)``.

        Returns:
            ``(C, N, classes)``, non-negative with sum 1, differentiable with respect to the points;
            None where labels are known or read off the update.
        """
        return None

    def start(self, n: int, count: int, generator: torch.Generator) -> Tensor:
        """Where descents begin: ``N(0, I)``, unless a space says otherwise.

        Args:
            n: How many points.
            count: How many images a point stands for.
            generator: Source of randomness, on the CPU.

        Returns:
            ``(n, *shape(count))``, float32, on the CPU.
        """
        return torch.randn(n, *self.shape(count), generator=generator)

    def project(self, points: Tensor) -> Tensor:
        """The nearest points of the space: after each step of a descent.

        Args:
            points: ``(C, *shape)``.

        Returns:
            The same shape; by default the points themselves.
        """
        return points

    def artefacts(self, points: Tensor) -> dict[str, Tensor]:
        """What is worth keeping of points beside their images, ``(C, N, ...)`` each, by name."""
        return {}
