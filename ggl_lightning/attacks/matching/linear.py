"""Per-candidate gradients of linear layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ggl_lightning.attacks.matching.layer_rule import MatrixRule, Work


class LinearRule(MatrixRule):
    """`torch.nn.Linear`, with any dimensions between the images' and the features'."""

    layer: nn.Linear

    def work(self, a: Tensor, b: Tensor) -> Work:
        """See `MatrixRule.work`."""
        outputs, features = self.layer.weight.shape
        positions = a[0].numel() // features
        gram = positions**2 * (features + outputs)
        return Work(outputs, features, positions, gram, gram_entries=positions**2)

    def weight_norm_squares(self, a: Tensor, b: Tensor) -> Tensor:
        """See `MatrixRule.weight_norm_squares`."""
        # The terms of a client's images may nearly cancel; in float64, which costs little for so
        # few positions, enough of them is left.
        a, b = _positions(a).double(), _positions(b).double()
        return ((a @ a.mT) * (b @ b.mT)).sum(dim=(1, 2))

    def weight_products(self, a: Tensor, b: Tensor, other_a: Tensor, other_b: Tensor) -> Tensor:
        """See `MatrixRule.weight_products`; by Gram matrices over positions."""
        inputs = torch.einsum("ctd,ksd->ctks", _positions(a), _positions(other_a))
        gradients = torch.einsum("ctp,ksp->ctks", _positions(b), _positions(other_b))
        return (inputs * gradients).sum(dim=(1, 3))

    def multiplies_positions(self, a: Tensor, b: Tensor) -> bool:
        """See `MatrixRule.multiplies_positions`: always."""
        return True

    def outputs_with(self, weight: Tensor, a: Tensor) -> Tensor:
        """See `MatrixRule.outputs_with`."""
        return F.linear(a, weight)

    def mixed(self, b: Tensor, matrix: Tensor) -> Tensor:
        """See `MatrixRule.mixed`."""
        return b @ matrix

    def bias_gradients(self, b: Tensor) -> Tensor:
        """See `MatrixRule.bias_gradients`."""
        return _positions(b).sum(dim=1)

    def weight_gradients(self, a: Tensor, b: Tensor) -> Tensor:
        """See `MatrixRule.weight_gradients`."""
        return _positions(b).mT @ _positions(a)


def _positions(tensor: Tensor) -> Tensor:
    """Features last: ``(C, N, ..., d)`` as ``(C, T, d)``."""
    return tensor.flatten(1, -2)
