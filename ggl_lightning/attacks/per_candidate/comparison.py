"""What is known of candidates' gradients of one tensor beside the received one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Comparison:
    """Candidates' gradients ``g_c`` of one tensor, split along and across the received ``y``.

    ``g_c = alpha_c y + r_c`` with ``r_c`` orthogonal to ``y``. Every distance is a sum of
    non-negative terms in ``alpha_c`` and ``||r_c||^2``, so that none cancels near ``g_c = y``, as
    ``||g_c||^2 - 2 <g_c, y> + ||y||^2`` would. All tensors are float64.

    Attributes:
        alpha: ``<g_c, y> / ||y||^2``, ``(C,)``; 0 where ``y`` is zero.
        residual: ``||r_c||^2``, ``(C,)``.
        square: ``||y||^2``, a scalar.
    """

    alpha: Tensor
    residual: Tensor
    square: Tensor

    @property
    def norm_square(self) -> Tensor:
        """``||g_c||^2``, ``(C,)``."""
        return self.residual + self.alpha.square() * self.square

    def l2(self, factor: Tensor | float = 1.0) -> Tensor:
        """``||factor_c g_c - y||^2``, ``(C,)``, for factors ``(C,)``."""
        return factor**2 * self.residual + (factor * self.alpha - 1).square() * self.square

    def cosine(self) -> Tensor:
        """``1 - <g_c, y> / (||g_c|| ||y||)``, ``(C,)``; 0 if both are zero, 1 if only one is."""
        squares = self.norm_square * self.square
        known = squares > 0
        safe = torch.where(known, squares, 1)
        cosine = self.alpha * self.square * safe.rsqrt()
        sine_square = self.residual * self.square / safe
        # Equal by sin^2 + cos^2 = 1; the first does not cancel where the cosine is almost 1.
        distance = torch.where(cosine > 0, sine_square / (1 + cosine.clamp(min=0)), 1 - cosine)
        one_is_zero = (self.norm_square > 0) | (self.square > 0)
        return torch.where(known, distance, one_is_zero.to(distance.dtype))


class Received:
    """The received gradient of one tensor.

    Args:
        tensor: The tensor ``y``.

    Attributes:
        tensor: The same.
        square: ``||y||^2`` in float64, a scalar.
        inverse_square: Its inverse; 0 where ``y`` is zero.
    """

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.square = tensor.double().square().sum()
        self.inverse_square = torch.where(self.square > 0, 1 / self.square, 0)


def compare(gradients: Tensor, received: Received) -> Comparison:
    """Compares explicit gradients.

    Args:
        gradients: ``(C, *shape)``.
        received: The received one, of ``shape``.
    """
    ours, theirs = gradients.flatten(1), received.tensor.flatten()
    rough = (ours @ theirs) * received.inverse_square.to(ours.dtype)
    across = torch.addr(ours, rough, theirs, alpha=-1)
    # A second step: rounding now is relative to what is left, not to the whole.
    alpha = rough.double() + (across @ theirs).double() * received.inverse_square
    return Comparison(alpha, _sum_of_squares(across.view_as(gradients)), received.square)


def _sum_of_squares(gradients: Tensor) -> Tensor:
    if gradients.dim() == 2:
        return torch.linalg.vector_norm(gradients, dim=1).double().square()
    # Row by row: one float32 sum over millions of squares would be wrong in the fifth digit.
    rows = torch.linalg.vector_norm(gradients.flatten(2), dim=2)
    return rows.double().square().sum(dim=1)


def concatenate(parts: list[Comparison]) -> Comparison:
    """Joins the comparisons of parts of a population with the same received tensor."""
    if len(parts) == 1:
        return parts[0]
    return Comparison(
        torch.cat([part.alpha for part in parts]),
        torch.cat([part.residual for part in parts]),
        parts[0].square,
    )
