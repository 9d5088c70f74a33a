"""Images of many latents in bounded memory."""

from __future__ import annotations

import torch
from torch import Tensor

from ggl_lightning.priors.base import Prior


@torch.no_grad()
def generate(prior: Prior, latents: Tensor, labels: Tensor, batch: int = 16) -> Tensor:
    """Generates images a few at a time, without gradients.

    Args:
        prior: The prior, in eval mode.
        latents: ``(N, *latent_shape)``, on the prior's device.
        labels: Class indices ``(N,)``, likewise.
        batch: Images generated at once.

    Returns:
        Images ``(N, 3, image_size, image_size)`` in ``[-1, 1]``.
    """
    pairs = zip(latents.split(batch), labels.split(batch), strict=True)
    return torch.cat([prior(some, their_labels) for some, their_labels in pairs])
