"""Distances of a population to the received update from all entries of its updates."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ggl_lightning.attacks.distance import Distance
from ggl_lightning.attacks.per_candidate.candidate_gradients import CandidateGradients
from ggl_lightning.attacks.per_candidate.comparison import Received, compare
from ggl_lightning.attacks.per_candidate.errors import CannotBatchError
from ggl_lightning.attacks.per_candidate.local_sgd import LocalSGDGradients
from ggl_lightning.clients import GradientUpdate, LocalSGDUpdate, Update, UpdateRule
from ggl_lightning.defenses import Adaptation


class EntryDistances:
    """Evaluates a population from the candidates' updates in full; arguments: `UpdateDistances`.

    Any adaptation and any distance will do. The updates come from one pass over the candidates; an
    adaptation is applied to one after the other of them, on their device.

    Args:
        model: The client model, in eval mode.
        received: The received update.
        rule: How a client's images become an update.
        adaptation: Applied to every candidate's update before it is compared.
        distance: What is measured between two tensors.

    Raises:
        CannotBatchError: If only the update rule itself knows what it computes.
    """

    description = "from all entries of their updates"

    def __init__(
        self,
        model: nn.Module,
        received: Update,
        rule: UpdateRule,
        adaptation: Adaptation | None,
        distance: Distance,
    ) -> None:
        self._gradients: CandidateGradients | LocalSGDGradients
        if type(rule) is GradientUpdate:
            self._gradients = CandidateGradients(model, received)
        elif type(rule) is LocalSGDUpdate and received[0].device.type != "cpu":
            # Weights differ between candidates from the second step on: each is a group of its own
            # in every convolution, for which a CPU takes five times as long as for a loop.
            self._gradients = LocalSGDGradients(model, rule)
        else:
            raise CannotBatchError(f"the update rule is {type(rule).__name__}")
        self._received = [Received(tensor) for tensor in received]
        self._adaptation = adaptation
        self._distance = distance

    @property
    def general(self) -> dict[str, str]:
        """Why parameters take the general path, by name."""
        return self._gradients.general

    def prepare(self, shape: torch.Size, differentiable: bool) -> None:
        """See `CandidateGradients.check`."""
        self._gradients.check(shape, differentiable)

    def bytes_per_candidate(self, differentiable: bool) -> int:
        """What a candidate is estimated to take."""
        return self._gradients.bytes_per_candidate(True, differentiable)

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Distances ``(C, L)`` of candidates ``(C, N, 3, H, W)``."""
        updates = self._gradients.gradients(images, labels)
        if self._adaptation is None:
            return self._distances(updates)
        rows = []
        for candidate in range(len(images)):
            adapted = self._adaptation([gradients[candidate] for gradients in updates])
            rows.append(self._distances([tensor.unsqueeze(0) for tensor in adapted]))
        return torch.cat(rows)

    def _distances(self, updates: Update) -> Tensor:
        pairs = zip(updates, self._received, strict=True)
        return torch.stack([self._measure(ours, theirs) for ours, theirs in pairs], dim=1)

    def _measure(self, ours: Tensor, theirs: Received) -> Tensor:
        """Distances ``(C,)`` of tensors ``(C, *shape)``; a `Distance` itself takes one of them."""
        match self._distance:
            case Distance.cosine:
                rows = ours.reshape(len(ours), -1)
                return compare(rows, theirs).cosine().to(ours.dtype)
            case Distance.l1:
                entries = (ours - theirs.tensor).abs()
            case Distance.l2:
                entries = (ours - theirs.tensor).square()
        return entries.reshape(len(entries), -1).sum(dim=1)
