"""How the training images are dealt out to the clients."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from ggl_lightning.errors import check_positive

Indices = npt.NDArray[np.int64]


class Partition(ABC):
    """Deals out images: every image goes to exactly one client.

    Its public attributes are its parameters: they identify it in results.
    """

    @abstractmethod
    def __call__(self, labels: Indices, clients: int, rng: np.random.Generator) -> list[Indices]:
        """Deals out the images.

        Args:
            labels: Their labels, ``(N,)``.
            clients: Number of clients.
            rng: The only source of randomness allowed.

        Returns:
            The indices of each client's images; disjoint, and together ``0 .. N - 1``. A client may
            get none.
        """


class IIDPartition(Partition):
    """A random part for every client, all of the same size up to one image."""

    def __call__(self, labels: Indices, clients: int, rng: np.random.Generator) -> list[Indices]:
        """See `Partition.__call__`."""
        return np.array_split(rng.permutation(len(labels)), clients)


class DirichletPartition(Partition):
    """Clients differ in their classes and in how many images they have.

    Of each class, client ``i`` gets the share ``p_i``, where ``p ~ Dirichlet(alpha, ..., alpha)``
    is drawn anew for every class: the "distribution-based label imbalance" of Li et al. 2022
    ("Federated learning on non-IID data silos", arXiv 2102.02079). With a small ``alpha`` few
    clients hold most of a class; with a large one all are alike.

    Args:
        alpha: Concentration of the Dirichlet distribution.

    Raises:
        UserError: If ``alpha`` is not positive.
    """

    def __init__(self, alpha: float = 0.5) -> None:
        check_positive("alpha of the Dirichlet partition", alpha)
        self.alpha = alpha

    def __call__(self, labels: Indices, clients: int, rng: np.random.Generator) -> list[Indices]:
        """See `Partition.__call__`."""
        parts: list[list[Indices]] = [[] for _ in range(clients)]
        for label in np.unique(labels):
            members = rng.permutation(np.flatnonzero(labels == label))
            shares = rng.dirichlet(np.full(clients, self.alpha))
            # Rounding the running total, not each share, gives every image to exactly one client.
            cuts = np.rint(np.cumsum(shares)[:-1] * len(members)).astype(np.int64)
            for part, chosen in zip(parts, np.split(members, cuts), strict=True):
                part.append(chosen)
        return [np.concatenate(part) for part in parts]
