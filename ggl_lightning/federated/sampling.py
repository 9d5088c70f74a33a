"""Who trains on which images in which round."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ggl_lightning.federated.partition import Indices
from ggl_lightning.federated.streams import SAMPLING, stream


class Sampling:
    """Chooses clients and images for every round, whatever the defense is.

    Args:
        shares: The indices of each client's images. A client without images never takes part.
        clients_per_round: Clients chosen in a round; all that have images if they are fewer.
        images_per_client_update: Images of a chosen client; all it has if None or if they are
            fewer.
        seed: Seeds the choices.
    """

    def __init__(
        self,
        shares: Sequence[Indices],
        clients_per_round: int,
        images_per_client_update: int | None,
        seed: int,
    ) -> None:
        self._shares = shares
        self._able = [client for client, share in enumerate(shares) if len(share)]
        self._clients = min(clients_per_round, len(self._able))
        self._images = images_per_client_update
        self._seed = seed

    def choose(self, number: int) -> dict[int, Indices]:
        """The clients of a round, and the indices of the images that each takes.

        Args:
            number: Which round; any may be asked for, in any order.
        """
        rng = stream(SAMPLING, self._seed, number)
        clients = rng.choice(self._able, self._clients, replace=False)
        return {int(client): self._choose_images(self._shares[client], rng) for client in clients}

    def _choose_images(self, share: Indices, rng: np.random.Generator) -> Indices:
        if self._images is None or self._images >= len(share):
            return share
        return rng.choice(share, self._images, replace=False)
