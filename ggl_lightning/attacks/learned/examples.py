"""Updates of public images, of which only inner products are ever asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True)
class Gram:
    """One parameter tensor's share of the updates of ``M`` images.

    Attributes:
        cosines: Of all pairs of updates, ``(M, M)``, float32.
        norms: Of the updates, ``(M,)``, float64.
    """

    cosines: Tensor
    norms: Tensor

    @classmethod
    def of(cls, products: Tensor) -> Gram:
        """By inner products ``(M, M)``, float64, which are overwritten."""
        norms = products.diagonal().clamp(min=0).sqrt().clamp(min=TINY)
        products /= norms.unsqueeze(1)
        products /= norms
        return cls(products.float(), norms)


class Examples(ABC):
    """The updates that ``M`` public images would have caused under one assumed label.

    Updates are looked at tensor by tensor, or only at some entries of each.

    Attributes:
        names: The parameter tensors that can be used, in the model's order.
    """

    names: Sequence[str]

    @abstractmethod
    def __len__(self) -> int:
        """Number ``M`` of images."""

    @abstractmethod
    def prepare(self, names: Sequence[str]) -> None:
        """Gets ready to tell of some tensors for all images; others may be forgotten."""

    @abstractmethod
    def grams(self, names: Sequence[str], count: int | None = None) -> dict[str, Gram]:
        """Inner products among the updates.

        Args:
            names: Of which tensors; those that were prepared unless there is a ``count``.
            count: Of the first so many images alone; None for all.
        """

    @abstractmethod
    def rows(self, name: str, received: Tensor) -> Tensor:
        """Inner products of a received tensor with all examples.

        Args:
            name: A tensor that was prepared.
            received: As received, of the parameter's shape.

        Returns:
            ``(M,)``, float64.
        """

    @abstractmethod
    def seen_of(self, name: str, received: Tensor) -> Tensor:
        """The entries of a received tensor that are looked at, in any shape."""

    @abstractmethod
    def noise_in(self, received: Mapping[str, Tensor]) -> float | None:
        """The standard deviation of noise in an update, per entry; None if it cannot be told.

        Args:
            received: Its tensors by name.
        """

    @abstractmethod
    def entries_of(self, name: str) -> int:
        """How many entries of a tensor are looked at."""

    @abstractmethod
    def bytes_of(self, name: str) -> int:
        """Memory that keeping a tensor ready takes."""
