"""Distances to the received update for any client, rule and defense: one candidate at a time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ggl_lightning.attacks.matching.distance import Distance
from ggl_lightning.clients import Update, UpdateRule
from ggl_lightning.defenses import Adaptation


class OneByOneDistances:
    """Computes every candidate's update in full; see `UpdateDistances` for arguments and results.

    The last resort: it needs nothing to be known of the model, the rule or the adaptation.
    """

    description = "one by one"
    general: dict[str, str]

    def __init__(
        self,
        model: nn.Module,
        received: Update,
        rule: UpdateRule,
        adaptation: Adaptation | None,
        distance: Distance,
    ) -> None:
        self._model = model
        self._received = received
        self._rule = rule
        self._adaptation = adaptation
        self._distance = distance
        self.general = {}

    def prepare(self, shape: torch.Size, differentiable: bool) -> None:
        """Nothing to find out."""

    def bytes_per_candidate(self, differentiable: bool) -> int:
        """None: it is always one candidate, however many are given."""
        return 0

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Distances ``(C, L)`` of candidates ``(C, N, 3, H, W)``."""
        return torch.stack([self._one(candidate, labels) for candidate in images])

    def _one(self, images: Tensor, labels: Tensor) -> Tensor:
        update = self._rule(self._model, images, labels)
        if self._adaptation is not None:
            update = self._adaptation(update)
        pairs = zip(update, self._received, strict=True)
        return torch.stack([self._distance(ours, theirs) for ours, theirs in pairs])
