"""Generates many images a few at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from ggl_lightning.errors import check_positive
from ggl_lightning.priors.base import Prior


@torch.no_grad()
def generate_in_batches(
    prior: Prior, latents: Tensor, labels: Tensor | None = None, batch: int = 16
) -> Tensor:
    """Generates images in batches, so that memory does not grow with the number of latents.

    Args:
        prior: The prior, in eval mode.
        latents: Shape ``(N, *latent_shape)``.
        labels: Class indices ``(N,)``, or None.
        batch: How many images are generated at a time.

    Returns:
        Images ``(N, 3, image_size, image_size)`` in ``[-1, 1]``, detached.

    Raises:
        UserError: If ``batch`` is not positive.
    """
    check_positive("batch", batch)
    parts = latents.split(batch)
    if labels is None:
        return torch.cat([prior(part) for part in parts])
    pairs = zip(parts, labels.split(batch), strict=True)
    return torch.cat([prior(part, some_labels) for part, some_labels in pairs])
