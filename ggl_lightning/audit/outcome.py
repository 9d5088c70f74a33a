"""What a case leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ggl_lightning.attacks.searches.snapshots import RoundLosses
from ggl_lightning.audit.row import CaseResult


@dataclass(frozen=True)
class Outcome:
    """What a completed case leaves behind.

    Attributes:
        result: Its row.
        reconstructions: ``(N, 3, H, W)`` in ``[-1, 1]``, in the private images' order.
        latents: Their latents ``(N, *latent_shape)``.
        histories: The losses of every round of every trial.
    """

    result: CaseResult
    reconstructions: Tensor
    latents: Tensor
    histories: Sequence[Sequence[RoundLosses]]
