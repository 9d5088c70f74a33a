"""Clipping: the whole update is scaled down to a bounded norm."""

from __future__ import annotations

import torch
from torch import Tensor

from ggl_lightning.clients import ClassifierLayer, Update
from ggl_lightning.defenses.base import Adaptation, ClientSide, Defense
from ggl_lightning.errors import check_positive

_GUARD = 1e-6
"""Keeps the published formula from dividing by zero."""


def tensor_norm(tensor: Tensor) -> Tensor:
    """Euclidean norm of all entries, as a scalar; its gradient at zero is zero."""
    if tensor.dim() < 2:
        return torch.linalg.vector_norm(tensor)
    # Row by row: one float32 sum over millions of squares would be wrong in the fifth digit.
    return torch.linalg.vector_norm(torch.linalg.vector_norm(tensor.flatten(1), dim=1))


def update_norm(update: Update) -> Tensor:
    """Euclidean norm of all tensors of an update together, as a scalar."""
    return torch.linalg.vector_norm(torch.stack([tensor_norm(tensor) for tensor in update]))


def clip_factor(norm: Tensor, bound: float) -> Tensor:
    """``min(1, bound / (norm + 1e-6))``, elementwise."""
    return (bound / (norm + _GUARD)).clamp(max=1.0)


def factor_down_to(norm: Tensor, target: float) -> Tensor:
    """What scales something of ``norm`` to ``target``, the norm that a clipped one had; at most 1.

    The guard of `clip_factor` is taken back: what was below its bound, hence never scaled, has a
    factor of exactly 1 here.
    """
    return clip_factor(norm, target + _GUARD)


class Clipping(Defense):
    """Scales the whole update by ``min(1, bound / (||update||_2 + 1e-6))``.

    As in the published code of Li et al. 2022; their text describes clipping per layer, which is
    `LayerwiseClipping`.

    Args:
        bound: The largest norm that is sent.

    Raises:
        UserError: If ``bound`` is not a positive number.
    """

    def __init__(self, bound: float = 4.0) -> None:
        check_positive("bound of the clipping defense", bound)
        self.bound = bound

    @property
    def hides_scale(self) -> bool:
        """True: an update is scaled by what its norm is above the bound."""
        return True

    @property
    def adds_noise(self) -> bool:
        """No."""
        return False

    def norm_bound(self, before: float | None) -> float | None:
        """The bound, or what the update has anyway."""
        return self.bound if before is None else min(self.bound, before)

    def __call__(self, update: Update, client: ClientSide) -> Update:
        """Returns the update, scaled down if its norm is above the bound."""
        factor = clip_factor(update_norm(update), self.bound)
        return [tensor * factor.to(tensor.dtype) for tensor in update]

    def adapt(self, received: Update, classifier: ClassifierLayer) -> ClipToNorm:
        """The attacker takes the norm it received for the bound."""
        return ClipToNorm(update_norm(received).item())


class ClipToNorm(Adaptation):
    """Scales a candidate's update down to the norm that the received one had.

    Args:
        norm: That norm. As an estimate of the bound it is exact if the update was clipped; if it
            was not, all that can be known is that the bound is above it.
        estimate: What to report; None reports the norm as the bound.
    """

    only_scales = True

    def __init__(self, norm: float, estimate: dict[str, float] | None = None) -> None:
        self.norm = norm
        self.estimate = {"bound": norm} if estimate is None else estimate

    def __call__(self, update: Update) -> Update:
        """Returns the update, scaled down if its norm is above the received one's."""
        factor = factor_down_to(update_norm(update), self.norm)
        return [tensor * factor.to(tensor.dtype) for tensor in update]
