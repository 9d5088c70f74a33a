"""Adaptations that need no more of a gradient than its norm."""

from __future__ import annotations

import torch
from torch import Tensor

from ggl_lightning.attacks.per_candidate.comparison import Comparison
from ggl_lightning.defenses import Adaptation, Unchanged
from ggl_lightning.defenses.clipping import ClipToNorm, factor_down_to
from ggl_lightning.defenses.layerwise_clipping import ClipToNorms
from ggl_lightning.defenses.representation import KeepColumns


class Scaling:
    """An adaptation as columns that are left out and one factor per tensor.

    Attributes:
        kept: The adaptations that leave columns out, to be applied before the factors.

    Args:
        adaptation: The adaptation, one of those that `can_scale` accepts.
    """

    def __init__(self, adaptation: Adaptation | None) -> None:
        self.kept = [adaptation] if isinstance(adaptation, KeepColumns) else []
        self._adaptation = adaptation

    def factors(self, comparisons: list[Comparison]) -> Tensor | float:
        """The factor of every candidate's tensors, ``(C, L)`` or broadcast to it."""
        match self._adaptation:
            case ClipToNorm(norm=norm):
                squares = torch.stack([each.norm_square for each in comparisons], dim=1)
                return factor_down_to(_root(squares.sum(dim=1, keepdim=True)), norm)
            case ClipToNorms(norms=norms):
                squares = torch.stack([each.norm_square for each in comparisons], dim=1)
                columns = zip(_root(squares).unbind(dim=1), norms, strict=True)
                return torch.stack([factor_down_to(ours, norm) for ours, norm in columns], dim=1)
        return 1.0


def can_scale(adaptation: Adaptation | None) -> bool:
    """Whether an adaptation only leaves columns out or scales whole tensors by their norms."""
    known = (type(None), Unchanged, ClipToNorm, ClipToNorms, KeepColumns)
    return type(adaptation) in known  # exactly: a subclass may do something else


def _root(squares: Tensor) -> Tensor:
    """The square root, with a gradient of zero at zero."""
    positive = squares > 0
    return torch.where(positive, torch.where(positive, squares, 1).sqrt(), 0)
