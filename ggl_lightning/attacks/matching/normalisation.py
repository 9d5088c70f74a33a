"""Per-candidate gradients of normalisation layers."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ggl_lightning.attacks.matching.layer_rule import LayerRule


class BatchNormRule(LayerRule):
    """`torch.nn.BatchNorm1d` and ``2d`` in eval mode: they normalise by running statistics."""

    layer: nn.BatchNorm2d

    def gradients(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """See `LayerRule.gradients`."""
        assert self.layer.running_mean is not None
        assert self.layer.running_var is not None
        sums = _sum_channels(b)
        # The mean is taken off after the sum, which spares a pass over all positions.
        centred = _sum_channels(b * a) - self.layer.running_mean * sums
        found = {"weight": centred * (self.layer.running_var + self.layer.eps).rsqrt()}
        if self.layer.bias is not None:
            found["bias"] = sums
        return found


class GroupNormRule(LayerRule):
    """`torch.nn.GroupNorm`."""

    layer: nn.GroupNorm

    def gradients(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """See `LayerRule.gradients`."""
        layer = self.layer
        normalised = F.group_norm(a.flatten(0, 1), layer.num_groups, eps=layer.eps)
        found = {"weight": _sum_channels(b * normalised.view_as(a))}
        if layer.bias is not None:
            found["bias"] = _sum_channels(b)
        return found


class LayerNormRule(LayerRule):
    """`torch.nn.LayerNorm`."""

    layer: nn.LayerNorm

    def gradients(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """See `LayerRule.gradients`."""
        layer = self.layer
        last_position = a.dim() - 1 - len(layer.normalized_shape)
        normalised = F.layer_norm(a, layer.normalized_shape, eps=layer.eps)
        found = {"weight": (b * normalised).flatten(1, last_position).sum(dim=1)}
        if layer.bias is not None:
            found["bias"] = b.flatten(1, last_position).sum(dim=1)
        return found


def _sum_channels(tensor: Tensor) -> Tensor:
    """Sums ``(C, N, channels, ...)`` to ``(C, channels)``."""
    if tensor.dim() > 3:
        tensor = tensor.flatten(3).sum(dim=3)
    return tensor.sum(dim=1)
