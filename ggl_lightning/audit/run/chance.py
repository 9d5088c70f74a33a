"""What is answered without the update: random images, against which attacks are held."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from ggl_lightning.priors.base import Prior
from ggl_lightning.priors.batched import generate_in_batches


class Chance(ABC):
    """Random images that an attacker could give for a private one without reading its update."""

    @abstractmethod
    def draw(self, label: int, seed: int, position: int) -> tuple[Tensor, Tensor | None]:
        """Random images for one of a client's.

        Args:
            label: The label that is assumed.
            seed: Seeds them.
            position: Which of the client's images, from 0: those of one client differ, also of one
                class.

        Returns:
            Images ``(M, 3, H, W)`` in ``[-1, 1]``, and their latents ``(M, *latent_shape)``; None
            if they have none.
        """


class PriorSamples(Chance):
    """Samples of a prior, of the assumed label.

    Args:
        prior: The prior.
        count: How many to draw.
    """

    def __init__(self, prior: Prior, count: int) -> None:
        self._prior = prior
        self._count = count
        # Successive cases mostly share label and seed; more images would fill the memory.
        self._drawn = lru_cache(maxsize=2)(self._draw)

    def draw(self, label: int, seed: int, position: int) -> tuple[Tensor, Tensor]:
        """See `Chance.draw`."""
        return self._drawn(label, seed, position)

    def _draw(self, label: int, seed: int, position: int) -> tuple[Tensor, Tensor]:
        random = torch.Generator().manual_seed(seed)
        for _ in range(position + 1):
            latents = self._prior.sample(self._count, random)
        labels = torch.full((len(latents),), label, device=self._prior.device)
        return generate_in_batches(self._prior, latents, labels), latents


class PublicSamples(Chance):
    """Public images in random order, of any class: an attacker's without a prior.

    Args:
        public: Public images, see `Target.public`.
        count: How many to take at most.
        device: Where they are used.
    """

    def __init__(self, public: Callable[[int], Tensor], count: int, device: torch.device) -> None:
        self._images = public(count).to(device)

    def draw(self, label: int, seed: int, position: int) -> tuple[Tensor, None]:
        """See `Chance.draw`."""
        random = torch.Generator().manual_seed(seed)
        for _ in range(position + 1):
            order = torch.randperm(len(self._images), generator=random)
        return self._images[order], None


def chance(
    prior: Prior | None,
    public: Callable[[int], Tensor] | None,
    count: int,
    device: torch.device,
) -> Chance | None:
    """Samples of the prior; without one public images; None if there are neither."""
    if prior is not None:
        return PriorSamples(prior, count)
    return None if public is None else PublicSamples(public, count, device)
