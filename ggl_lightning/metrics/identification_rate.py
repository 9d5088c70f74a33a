"""How often a reconstruction points at its private image among decoys."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ggl_lightning.errors import check_positive
from ggl_lightning.metrics.binomial_rate import BinomialRate


class IdentificationRate(BinomialRate):
    """Share of private images that are among the ``k`` nearest to their reconstruction.

    ``compute`` returns what `BinomialRate` does, and ``chance``: the rate ``k / (decoys + 1)`` of
    a reconstruction that has nothing to do with its private image, averaged over images.

    Args:
        k: Up to which rank the private image counts as identified.
        **kwargs: For `torchmetrics.Metric`.

    Raises:
        UserError: If ``k`` is not positive.
    """

    chance: Tensor

    def __init__(self, k: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_positive("k", k)
        self.k = k
        self.add_state("chance", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, ranks: Tensor, decoys: int | Tensor) -> None:  # type: ignore[override]
        """Adds images.

        Args:
            ranks: Of `identification_ranks`, ``(N,)``, or ``(N, S)`` for ``N`` images with ``S``
                seeds each: an image counts with the share of its seeds that identified it.
            decoys: Among how many decoys: one number, or one for each rank.

        Raises:
            ValueError: If a rank is not in 1 to ``decoys + 1``.
        """
        decoys = torch.as_tensor(decoys, device=ranks.device).expand_as(ranks)
        if not ((ranks >= 1) & (ranks <= decoys + 1)).all():
            raise ValueError(f"ranks are {ranks}: expected 1 to decoys + 1, of {decoys} decoys.")
        super().update(_image_means(ranks <= self.k))
        self.chance += _image_means((self.k / (decoys.double() + 1)).clamp(max=1)).sum()

    def compute(self) -> dict[str, Tensor]:
        """The rate, its interval and chance.

        Raises:
            MissingError: If there was no image.
        """
        found = super().compute()
        return {**found, "chance": self.chance / found["count"]}


def _image_means(of_seeds: Tensor) -> Tensor:
    return of_seeds.double().reshape(len(of_seeds), -1).mean(dim=1)
