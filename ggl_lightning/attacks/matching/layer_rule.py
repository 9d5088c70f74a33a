"""What a rule for a layer type is: inputs and output gradients in, comparisons out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ggl_lightning.attacks.matching.comparison import (
    Comparison,
    ExplicitComparison,
    ReceivedTensor,
    compare,
)
from ggl_lightning.attacks.matching.low_rank import LowRank

_ENTRIES_AT_ONCE = 2**22
"""Entries of explicit gradients held at a time: 16 MB in float32."""

_ALMOST_ALIGNED = 1e-2
"""Share of ``||r||^2`` in ``||g||^2`` below which ``||g||^2 - <g, y>^2 / ||y||^2`` cancels."""

_MULTIPLICATIONS_PER_ENTRY = 100
"""How many multiplications take as long as writing, reordering and reading an entry of an explicit
gradient (measured on one CPU)."""


class LayerRule(ABC):
    """Per-candidate gradients of one layer's own parameters.

    Inputs ``a`` and output gradients ``b`` come as ``(C, N, ...)``: what the layer saw of the ``N``
    images of each of ``C`` candidates. Everything is differentiable with respect to both.

    Args:
        layer: The layer.
    """

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    @abstractmethod
    def gradients(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """Explicit gradients ``(C, *shape)`` of every parameter, by its name in the layer."""

    def at_once(self, a: Tensor, b: Tensor) -> int:
        """How many candidates' explicit gradients to compute by one call."""
        entries = sum(parameter.numel() for parameter in self.layer.parameters(recurse=False))
        return max(1, _ENTRIES_AT_ONCE // entries)

    def compare(
        self, a: Tensor, b: Tensor, received: dict[str, ReceivedTensor]
    ) -> dict[str, Comparison]:
        """Compares the candidates' gradients of every parameter with the received ones."""
        return self._compare_explicitly(a, b, received)

    def _compare_explicitly(
        self, a: Tensor, b: Tensor, received: dict[str, ReceivedTensor]
    ) -> dict[str, Comparison]:
        size = self.at_once(a, b)
        comparisons = {name: ExplicitComparison(theirs) for name, theirs in received.items()}
        for some_a, some_b in zip(a.split(size), b.split(size), strict=True):
            for name, gradients in self.gradients(some_a, some_b).items():
                comparisons[name].add(gradients)
        return {name: comparison.result() for name, comparison in comparisons.items()}


@dataclass(frozen=True)
class Work:
    """What comparing one candidate's weight gradient costs, counted.

    Attributes:
        outputs: Entries of a row of ``B``, ``p``.
        inputs: Entries of a row of ``A``, ``d``.
        positions: Rows of both, ``T``.
        gram: Multiplications for the norm by Gram matrices.
        gram_entries: Entries of them that are written.
    """

    outputs: int
    inputs: int
    positions: int
    gram: int
    gram_entries: int


class MatrixRule(LayerRule):
    """A layer that multiplies by its weight: its gradient has a norm that needs no gradient.

    ``g = B^T A`` over the ``T`` positions of a candidate, hence
    ``||g||^2 = sum((A A^T) * (B B^T))`` (Goodfellow 2015, arXiv 1510.01799, for ``T = 1``; Bu et
    al. 2022, arXiv 2205.10683, for convolutions), and ``<g, y>`` is the inner product of ``B`` with
    the layer's outputs if ``y`` were its weight. A received ``y = U V`` of low rank ``r`` (see
    `find_low_rank`) has ``<g, y> = sum((A V^T) * (B U))``, with ``r`` outputs instead of ``p``.
    """

    @abstractmethod
    def work(self, a: Tensor, b: Tensor) -> Work:
        """What a candidate costs."""

    @abstractmethod
    def weight_norm_squares(self, a: Tensor, b: Tensor) -> Tensor:
        """``||g_c||^2`` by Gram matrices, ``(C,)``."""

    @abstractmethod
    def outputs_with(self, weight: Tensor, a: Tensor) -> Tensor:
        """What the layer would return for ``a`` with another weight and no bias: as ``b``.

        The weight may have any number of outputs if `accepts_low_rank`.
        """

    @abstractmethod
    def mixed(self, b: Tensor, matrix: Tensor) -> Tensor:
        """``b`` with its ``p`` outputs turned into ``r`` by a matrix ``(p, r)``."""

    @abstractmethod
    def bias_gradients(self, b: Tensor) -> Tensor:
        """Explicit gradients of the bias, ``(C, outputs)``."""

    @abstractmethod
    def weight_gradients(self, a: Tensor, b: Tensor) -> Tensor:
        """Explicit gradients of the weight, ``(C, *shape)``."""

    def weight_products(self, a: Tensor, b: Tensor, other_a: Tensor, other_b: Tensor) -> Tensor:
        """Inner products ``<g_c, g_d>`` of some candidates' weight gradients with others'.

        Args:
            a: Inputs of the layer, ``(C, N, ...)``.
            b: Gradients of its outputs, ``(C, N, ...)``.
            other_a: Inputs of the other candidates, ``(D, N, ...)``.
            other_b: Their gradients.

        Returns:
            ``(C, D)``.
        """
        return self.weight_rows(a, b) @ self.weight_rows(other_a, other_b).mT

    def weight_rows(self, a: Tensor, b: Tensor) -> Tensor:
        """Explicit gradients of the weight as rows, ``(C, entries)``, few candidates at a time."""
        size = self.at_once(a, b)
        parts = zip(a.split(size), b.split(size), strict=True)
        return torch.cat([self.weight_gradients(*part).flatten(1) for part in parts])

    def multiplies_positions(self, a: Tensor, b: Tensor) -> bool:
        """Whether `weight_products` needs no explicit gradients."""
        return False

    def accepts_low_rank(self) -> bool:
        """Whether the layer is one matrix, which may be written as a product."""
        return True

    def gradients(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """See `LayerRule.gradients`."""
        found = {"weight": self.weight_gradients(a, b)}
        if self.layer.bias is not None:
            found["bias"] = self.bias_gradients(b)
        return found

    def compare(
        self, a: Tensor, b: Tensor, received: dict[str, ReceivedTensor]
    ) -> dict[str, Comparison]:
        """See `LayerRule.compare`."""
        work = self.work(a, b)
        low_rank = None
        # Only if it pays even at the highest rank: looking for it takes a moment.
        if self.accepts_low_rank() and gram_is_cheaper(work, work.positions):
            low_rank = received["weight"].low_rank(work.positions)
        if not gram_is_cheaper(work, None if low_rank is None else low_rank.rank):
            return self._compare_explicitly(a, b, received)
        found = {"weight": self._compare_weight(a, b, received["weight"], low_rank)}
        if "bias" in received:
            found["bias"] = compare(self.bias_gradients(b), received["bias"])
        return found

    def _compare_weight(
        self, a: Tensor, b: Tensor, received: ReceivedTensor, low_rank: LowRank | None
    ) -> Comparison:
        if runs_ahead(a.device):
            # In float64 nothing cancels; to look for what does would wait for the device.
            return self._compare_products(a.double(), b.double(), received, low_rank)
        found = self._compare_products(a, b, received, low_rank)
        cancels = found.residual < _ALMOST_ALIGNED * found.norm_square
        if not cancels.any():
            return found
        (rows,) = cancels.nonzero(as_tuple=True)
        # Not a[rows], whose strides may mislead a convolution: torch 2.13 returns wrong gradients
        # of one float64 candidate with groups.
        some_a, some_b = a.index_select(0, rows), b.index_select(0, rows)
        if low_rank is not None and a.dtype != torch.float64:
            exact = self._compare_products(some_a.double(), some_b.double(), received, low_rank)
        else:
            exact = self._compare_weight_explicitly(some_a, some_b, received)
        alpha = found.alpha.index_copy(0, rows, exact.alpha)
        residual = found.residual.index_copy(0, rows, exact.residual)
        return Comparison(alpha, residual, received.square)

    def _compare_products(
        self, a: Tensor, b: Tensor, received: ReceivedTensor, low_rank: LowRank | None
    ) -> Comparison:
        norm_squares = self.weight_norm_squares(a, b).double()
        if low_rank is None:
            pairs = self.outputs_with(received.tensor.to(a.dtype), a), b
        else:
            thin = low_rank.to(a.dtype)
            weight = thin.right.unflatten(1, received.tensor.shape[1:])
            pairs = self.outputs_with(weight, a), self.mixed(b, thin.left)
        products = (pairs[0] * pairs[1]).flatten(1).sum(dim=1).double()
        alpha = products * received.inverse_square
        return Comparison(alpha, norm_squares - alpha.square() * received.square, received.square)

    def _compare_weight_explicitly(
        self, a: Tensor, b: Tensor, received: ReceivedTensor
    ) -> Comparison:
        comparison = ExplicitComparison(received)
        size = self.at_once(a, b)
        for some_a, some_b in zip(a.split(size), b.split(size), strict=True):
            comparison.add(self.weight_gradients(some_a, some_b))
        return comparison.result()


def runs_ahead(device: torch.device) -> bool:
    """Whether a device computes while Python goes on, until Python looks at a result."""
    return device.type == "cuda"


def gram_is_cheaper(work: Work, rank: int | None) -> bool:
    """Compares the costs of the two ways to a norm and an inner product.

    Args:
        work: What there is to do.
        rank: The rank of the received gradient, or None if it is as high as can be.
    """
    explicit = work.positions * work.outputs * work.inputs
    product = explicit if rank is None else work.positions * rank * (work.outputs + work.inputs)
    gram = work.gram + _MULTIPLICATIONS_PER_ENTRY * work.gram_entries + product
    return gram < explicit + _MULTIPLICATIONS_PER_ENTRY * work.outputs * work.inputs
