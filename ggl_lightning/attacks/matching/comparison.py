"""What is known of candidates' gradients of one tensor beside the received one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ggl_lightning.attacks.matching.low_rank import LowRank, find_low_rank


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

    def excess(self, factor: Tensor | float = 1.0) -> Tensor:
        """``||factor_c g_c||^2 - 2 <factor_c g_c, y>``, ``(C,)``; see `Excess`."""
        return factor**2 * self.norm_square - 2 * factor * self.alpha * self.square

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


class ReceivedTensor:
    """The received gradient of one tensor.

    Args:
        tensor: The tensor ``y``.

    Attributes:
        tensor: The same.
        square: ``||y||^2`` in float64, a scalar.
        inverse_square: Its inverse; 0 where ``y`` is zero, or as good as that.
    """

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self._flat: dict[bool, Tensor] = {}
        self.square = tensor.double().square().sum()
        # Beyond the precision of the gradients it would make NaN of their underflowing products.
        smallest = 1 / torch.finfo(tensor.dtype).max
        self.inverse_square = torch.where(self.square > smallest, 1 / self.square, 0)
        self._low_rank: dict[int, LowRank | None] = {}

    def flat_beside(self, gradients: Tensor) -> tuple[Tensor, Tensor]:
        """Candidates' gradients and this one as ``(C, n)`` and ``(n,)``, in the same order.

        That of `gradients` in memory if they have channels last: to sort them takes longer than to
        compare them.

        Args:
            gradients: ``(C, *shape)``.
        """
        channels_last = gradients.dim() == 5 and not gradients.is_contiguous()
        if channels_last not in self._flat:
            flat = self.tensor.movedim(1, -1) if channels_last else self.tensor
            self._flat[channels_last] = flat.flatten()
        ours = gradients.movedim(2, -1) if channels_last else gradients
        return ours.flatten(1), self._flat[channels_last]

    def low_rank(self, rank: int) -> LowRank | None:
        """The gradient as ``(p, d)`` written as a product of two thin matrices.

        Args:
            rank: How large ``r`` may be.

        Returns:
            What `find_low_rank` found, the first time it was asked.
        """
        if rank not in self._low_rank:
            self._low_rank[rank] = find_low_rank(self.tensor.detach().flatten(1), rank)
        return self._low_rank[rank]


class ExplicitComparison:
    """Compares explicit gradients with a received one, some candidates after the other.

    Args:
        received: The received one.
    """

    def __init__(self, received: ReceivedTensor) -> None:
        self._received = received
        self._rough: list[Tensor] = []
        self._corrections: list[Tensor] = []
        self._norms: list[Tensor] = []

    def add(self, gradients: Tensor) -> None:
        """Compares some more candidates' gradients, ``(C, *shape)``."""
        ours, theirs = self._received.flat_beside(gradients)
        rough = (ours @ theirs) * self._received.inverse_square.to(ours.dtype)
        across = torch.addr(ours, rough, theirs, alpha=-1)
        self._rough.append(rough)
        # A second step: rounding now is relative to what is left, not to the whole.
        self._corrections.append(across @ theirs)
        # Row by row: one float32 sum over millions of squares would be wrong in the fifth digit.
        rows = gradients.shape[1] if gradients.dim() > 2 else 1
        self._norms.append(torch.linalg.vector_norm(across.unflatten(1, (rows, -1)), dim=2))

    def result(self) -> Comparison:
        """The comparison of all candidates, in the order in which they were added."""
        correction = _join(self._corrections).double() * self._received.inverse_square
        alpha = _join(self._rough).double() + correction
        residual = _join(self._norms).double().square().sum(dim=1)
        return Comparison(alpha, residual, self._received.square)


def compare(gradients: Tensor, received: ReceivedTensor) -> Comparison:
    """Compares explicit gradients.

    Args:
        gradients: ``(C, *shape)``.
        received: The received one, of ``shape``.
    """
    comparison = ExplicitComparison(received)
    comparison.add(gradients)
    return comparison.result()


def concatenate(parts: list[Comparison]) -> Comparison:
    """Joins the comparisons of parts of a population with the same received tensor."""
    if len(parts) == 1:
        return parts[0]
    return Comparison(
        torch.cat([part.alpha for part in parts]),
        torch.cat([part.residual for part in parts]),
        parts[0].square,
    )


def as_one_tensor(tensors: Comparison, factor: Tensor | float = 1.0) -> Comparison:
    """The comparison of updates as one long vector each.

    With ``g = (f_l (alpha_l y_l + r_l))_l`` the vector's ``alpha`` is the mean of ``f_l alpha_l``
    weighted by ``||y_l||^2``, and what is across is ``sum_l f_l^2 ||r_l||^2 + (f_l alpha_l -
    alpha)^2 ||y_l||^2``: non-negative terms again, none of which cancels.

    Args:
        tensors: Of ``L`` tensors, ``(C, L)`` each, and ``(L,)``.
        factor: Of every candidate's tensors, ``(C, L)`` or broadcast to it.

    Returns:
        ``(C,)`` each, and a scalar.
    """
    scaled = factor * tensors.alpha
    square = tensors.square.sum()
    share = torch.where(square > 0, tensors.square / torch.where(square > 0, square, 1), 0)
    alpha = (scaled * share).sum(dim=1)
    spread = (scaled - alpha.unsqueeze(1)).square() * tensors.square
    residual = (factor**2 * tensors.residual + spread).sum(dim=1)
    return Comparison(alpha, residual, square)


def _join(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
