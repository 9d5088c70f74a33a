"""Adaptations that need no more of a gradient than its norm."""

from __future__ import annotations

import torch
from torch import Tensor

from ggl_lightning.attacks.matching.comparison import Comparison
from ggl_lightning.attacks.matching.scale_to_norm import ScaleToNorm, factor_to
from ggl_lightning.defenses import Adaptation, Unchanged
from ggl_lightning.defenses.clipping import ClipToNorm, factor_down_to
from ggl_lightning.defenses.compose import AdaptInOrder
from ggl_lightning.defenses.layerwise_clipping import ClipToNorms
from ggl_lightning.defenses.representation import KeepColumns


class Scaling:
    """An adaptation as columns that are left out and factors on whole tensors, in its order.

    Leaving columns out commutes with scaling, but not with taking a norm: a factor depends on the
    norms before the columns that a later adaptation leaves out. Hence a tensor is compared once
    per such step, and the steps choose.

    Attributes:
        masks: What is kept of the columns of which tensor, after each step that leaves some out:
            ``(index, keep)``.

    Args:
        adaptation: The adaptation, one of those that `can_scale` accepts.
    """

    def __init__(self, adaptation: Adaptation | None) -> None:
        self._steps = _steps(adaptation)
        self.masks: list[tuple[int, Tensor]] = []
        kept: dict[int, Tensor] = {}
        for step in self._steps:
            if isinstance(step, KeepColumns):
                index = step.weight_index
                kept[index] = kept[index] & step.keep if index in kept else step.keep
                self.masks.append((index, kept[index]))

    def apply(
        self, whole: list[Comparison], masked: list[Comparison]
    ) -> tuple[list[Comparison], Tensor | float]:
        """Goes through the steps.

        Args:
            whole: The comparisons of all tensors of the candidates' updates.
            masked: Those of the tensors in `masks`, with only these columns kept.

        Returns:
            The comparisons with all that is left out, and the factor of every candidate's tensors,
            ``(C, L)`` or broadcast to it.
        """
        current = list(whole)
        waiting = iter(masked)
        factors: Tensor | float = 1.0
        for step in self._steps:
            match step:
                case KeepColumns(weight_index=index):
                    current[index] = next(waiting)
                case ClipToNorm(norm=norm):
                    total = _scaled_squares(current, factors).sum(dim=1, keepdim=True)
                    factors = factors * factor_down_to(_root(total), norm)
                case ScaleToNorm(norm=norm):
                    total = _scaled_squares(current, factors).sum(dim=1, keepdim=True)
                    factors = factors * factor_to(_root(total), norm)
                case ClipToNorms(norms=norms):
                    columns = _root(_scaled_squares(current, factors)).unbind(dim=1)
                    pairs = zip(columns, norms, strict=True)
                    each = torch.stack([factor_down_to(ours, norm) for ours, norm in pairs], dim=1)
                    factors = factors * each
        return current, factors


def can_scale(adaptation: Adaptation | None) -> bool:
    """Whether an adaptation only leaves columns out and scales whole tensors by their norms."""
    known = (ClipToNorm, ClipToNorms, KeepColumns, ScaleToNorm)
    return all(type(step) in known for step in _steps(adaptation))


def _steps(adaptation: Adaptation | None) -> list[Adaptation]:
    # Types are compared exactly: a subclass may do something else.
    if adaptation is None or type(adaptation) is Unchanged:
        return []
    if type(adaptation) is AdaptInOrder:
        return [step for member in adaptation.adaptations for step in _steps(member)]
    return [adaptation]


def _scaled_squares(comparisons: list[Comparison], factors: Tensor | float) -> Tensor:
    return torch.stack([each.norm_square for each in comparisons], dim=1) * factors**2


def _root(squares: Tensor) -> Tensor:
    """The square root, with a gradient of zero at zero."""
    positive = squares > 0
    return torch.where(positive, torch.where(positive, squares, 1).sqrt(), 0)
