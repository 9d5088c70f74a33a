"""What every source is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor


class Source(ABC):
    """What the update of a case comes from.

    Attributes:
        name: Readable, unique in its audit and safe as part of a folder's name.
    """

    name: str

    @property
    @abstractmethod
    def count(self) -> int:
        """Number ``N`` of private images behind the update."""

    @abstractmethod
    def images(self) -> Tensor | None:
        """The private images ``(N, 3, H, W)`` in ``[-1, 1]``; None if they are not known."""

    @abstractmethod
    def labels(self) -> Tensor | None:
        """Their labels ``(N,)``; None if they are not known."""
