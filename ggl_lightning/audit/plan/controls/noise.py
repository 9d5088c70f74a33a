"""The null that attacks noise."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ggl_lightning.attacks import Received
from ggl_lightning.audit.plan.case import Case
from ggl_lightning.audit.plan.controls.base import Resources, UpdateControl
from ggl_lightning.audit.plan.roles import Role, Standing
from ggl_lightning.clients import Update
from ggl_lightning.updates import UpdateRecord


class NoiseUpdate(UpdateControl):
    """The attack on noise with the norms of the received update's tensors."""

    role = Role(
        "null_noise",
        "update of noise",
        "noise with the norms of the received update's tensors",
        Standing.null,
        has_defense=True,
        has_attack=True,
    )

    def lacks_of_record(self, has_images: bool) -> str | None:
        """Nothing: only the update is replaced."""
        return None

    def record(self, case: Case, received: Received, resources: Resources) -> UpdateRecord:
        """The noise, seeded by the case's seed."""
        noise = noise_like(received.update, case.spec.seed)
        named = dict(zip(received.record.tensors, noise, strict=True))
        # Without buffers: those that were sent would tell of the private images.
        return replace(received.record, tensors=named, buffers={})


def noise_like(update: Update, seed: int) -> Update:
    """Gaussian noise in which each tensor has the norm of the update's.

    Args:
        update: The update; not modified.
        seed: Seeds the noise, apart from what else is seeded by it.

    Returns:
        New tensors of the same shapes, dtypes and device; zero where the update's tensor is.
    """
    generator = torch.Generator().manual_seed(_apart(seed))
    return [_with_norm_of(tensor, generator) for tensor in update]


def _with_norm_of(tensor: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
    norm = torch.linalg.vector_norm(tensor.detach().cpu().double())
    return (noise * (norm / torch.linalg.vector_norm(noise))).to(tensor)


def _apart(seed: int) -> int:
    """A seed of its own: a noise defense draws from the case's seed itself."""
    return (seed * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % 2**63
