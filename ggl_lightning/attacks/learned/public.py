"""What the layers of a client model make of public images under an assumed label."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ggl_lightning.attacks.learned.captured import Captured, capture, products
from ggl_lightning.attacks.matching.layer_rule import MatrixRule


class PublicGradients:
    """Weight gradients of public images in one layer, of which none is ever held.

    Args:
        captured: What the layer saw of them.
        block_bytes: What a block of products may take.

    Attributes:
        norms: Their norms ``(M,)``, float64.
    """

    def __init__(self, captured: Captured, block_bytes: int) -> None:
        self._captured = captured
        self._block_bytes = block_bytes
        parts = [
            captured.rule.weight_norm_squares(*captured.part(i, i + 1)).double().cpu()
            for i in range(len(captured))
        ]
        self.norms = torch.cat(parts).clamp(min=0).sqrt().clamp(min=torch.finfo(torch.float64).tiny)

    def gram(self, count: int | None = None) -> Tensor:
        """Cosines of all pairs of the first ``count`` of them, ``(count, count)``, float64."""
        some = self._captured if count is None else self._captured.first(count)
        norms = self.norms[: len(some)]
        return products(some, some, self._block_bytes) / norms / norms.unsqueeze(1)

    def rows(self, received: Tensor, images_at_once: int = 100) -> Tensor:
        """Inner products with a received tensor, over the public gradients' norms, ``(M,)``."""
        found = []
        for start in range(0, len(self._captured), images_at_once):
            a, b = self._captured.part(start, start + images_at_once)
            outputs = self._captured.rule.outputs_with(received.to(a), a)
            found.append((outputs * b).flatten(1).sum(dim=1).double().cpu())
        return torch.cat(found) / self.norms

    @property
    def rank(self) -> int:
        """The most that a gradient of one image can have: the number of positions."""
        _, b = self._captured.part(0, 1)
        return (
            b[0, 0].numel() // b.shape[2] if b.dim() == 5 else max(1, b[0].numel() // b.shape[-1])
        )


def public_gradients(
    model: nn.Module,
    rules: dict[str, MatrixRule],
    images: Tensor,
    label: int,
    block_bytes: int,
) -> dict[str, PublicGradients]:
    """Runs public images through some layers; see `capture`."""
    kept = capture(model, rules, images, label)
    return {name: PublicGradients(each, block_bytes) for name, each in kept.items()}
