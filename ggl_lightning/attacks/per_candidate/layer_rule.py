"""What a rule for a layer type is: inputs and output gradients in, comparisons out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from torch import Tensor, nn

from ggl_lightning.attacks.per_candidate.comparison import (
    Comparison,
    Received,
    compare,
    concatenate,
)

_ENTRIES_AT_ONCE = 2**22
"""Entries of explicit gradients held at a time: 16 MB in float32."""

_ALMOST_ALIGNED = 2e-3
"""Share of ``||r||^2`` in ``||g||^2`` below which ``||g||^2 - <g, y>^2 / ||y||^2`` cancels."""


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

    def compare(self, a: Tensor, b: Tensor, received: dict[str, Received]) -> dict[str, Comparison]:
        """Compares the candidates' gradients of every parameter with the received ones."""
        return self._compare_explicitly(a, b, received)

    def _compare_explicitly(
        self, a: Tensor, b: Tensor, received: dict[str, Received]
    ) -> dict[str, Comparison]:
        size = self.at_once(a, b)
        parts: dict[str, list[Comparison]] = {name: [] for name in received}
        for some_a, some_b in zip(a.split(size), b.split(size), strict=True):
            for name, gradients in self.gradients(some_a, some_b).items():
                parts[name].append(compare(gradients, received[name]))
        return {name: concatenate(part) for name, part in parts.items()}


class MatrixRule(LayerRule):
    """A layer that multiplies by its weight: its gradient has a norm that needs no gradient.

    ``g = B^T A`` over the ``T`` positions of a candidate, hence
    ``||g||^2 = sum((A A^T) * (B B^T))`` (Goodfellow 2015, arXiv 1510.01799, for ``T = 1``; Bu et
    al. 2022, arXiv 2205.10683, for convolutions), and ``<g, y>`` is the inner product of ``B`` with
    the layer's outputs if ``y`` were its weight.
    """

    @abstractmethod
    def prefers_gram(self, a: Tensor, b: Tensor) -> bool:
        """Whether the Gram matrices cost less than the explicit gradient."""

    @abstractmethod
    def weight_norm_squares(self, a: Tensor, b: Tensor) -> Tensor:
        """``||g_c||^2`` by Gram matrices, ``(C,)``."""

    @abstractmethod
    def outputs_with(self, weight: Tensor, a: Tensor) -> Tensor:
        """What the layer would return for ``a`` with another weight and no bias: as ``b``."""

    @abstractmethod
    def bias_gradients(self, b: Tensor) -> Tensor:
        """Explicit gradients of the bias, ``(C, outputs)``."""

    @abstractmethod
    def weight_gradients(self, a: Tensor, b: Tensor) -> Tensor:
        """Explicit gradients of the weight, ``(C, *shape)``."""

    def gradients(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """See `LayerRule.gradients`."""
        found = {"weight": self.weight_gradients(a, b)}
        if self.layer.bias is not None:
            found["bias"] = self.bias_gradients(b)
        return found

    def compare(self, a: Tensor, b: Tensor, received: dict[str, Received]) -> dict[str, Comparison]:
        """See `LayerRule.compare`."""
        if not self.prefers_gram(a, b):
            return self._compare_explicitly(a, b, received)
        found = {"weight": self._compare_weight(a, b, received["weight"])}
        if "bias" in received:
            found["bias"] = compare(self.bias_gradients(b), received["bias"])
        return found

    def _compare_weight(self, a: Tensor, b: Tensor, received: Received) -> Comparison:
        norm_squares = self.weight_norm_squares(a, b).double()
        products = (self.outputs_with(received.tensor, a) * b).flatten(1).sum(dim=1).double()
        alpha = products * received.inverse_square
        residual = norm_squares - alpha.square() * received.square
        cancels = residual < _ALMOST_ALIGNED * norm_squares
        if cancels.any():
            (rows,) = cancels.nonzero(as_tuple=True)
            # Not a[rows], whose strides may mislead a convolution: torch 2.13 returns wrong
            # gradients of one float64 candidate with groups.
            some_a, some_b = a.index_select(0, rows), b.index_select(0, rows)
            exact = concatenate(list(self._explicit_weights(some_a, some_b, received)))
            alpha = alpha.index_copy(0, rows, exact.alpha)
            residual = residual.index_copy(0, rows, exact.residual)
        return Comparison(alpha, residual, received.square)

    def _explicit_weights(self, a: Tensor, b: Tensor, received: Received) -> Iterator[Comparison]:
        size = self.at_once(a, b)
        for some_a, some_b in zip(a.split(size), b.split(size), strict=True):
            yield compare(self.weight_gradients(some_a, some_b), received)


def gram_is_cheaper(gram_work: int, gram_entries: int, weight_entries: int) -> bool:
    """Compares the extra cost of Gram matrices with that of storing explicit gradients.

    Both need the ``T d p`` multiplications, for ``<g, y>`` or for ``g``. Reading and writing an
    entry takes as long as about 32 multiplications (measured on one CPU).
    """
    return gram_work / 32 + gram_entries < weight_entries
