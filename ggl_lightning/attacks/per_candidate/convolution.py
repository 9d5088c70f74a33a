"""Per-candidate gradients of convolutions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ggl_lightning.attacks.per_candidate.layer_rule import MatrixRule, gram_is_cheaper

_WORK_AT_ONCE = 12 * 2**20
"""Multiplications of one grouped convolution over several candidates, on the CPU. Above, oneDNN is
faster with one candidate at a time."""


class ConvolutionRule(MatrixRule):
    """`torch.nn.Conv2d`, with any stride, padding, dilation and groups."""

    layer: nn.Conv2d

    def at_once(self, a: Tensor, b: Tensor) -> int:
        """See `LayerRule.at_once`."""
        if a.device.type != "cpu":
            return super().at_once(a, b)
        work = b[0].numel() * self.layer.weight[0].numel()
        return max(1, _WORK_AT_ONCE // work)

    def prefers_gram(self, a: Tensor, b: Tensor) -> bool:
        """See `MatrixRule.prefers_gram`."""
        images, channels, height, width = a[0].shape
        left, right, top, bottom = self._padding()
        seen = images * (height + top + bottom) * (width + left + right)
        positions = b[0].numel() // b.shape[2]
        work = seen**2 * channels + positions**2 * b.shape[2]
        window = math.prod(self.layer.kernel_size)
        entries = window * positions**2 * self.layer.groups
        return gram_is_cheaper(work, entries, self.layer.weight.numel())

    def weight_norm_squares(self, a: Tensor, b: Tensor) -> Tensor:
        """See `MatrixRule.weight_norm_squares`.

        ``A A^T`` of the patches is a sum over the kernel's offsets of slices of the pixels' own
        Gram matrix, which is as many times smaller as the kernel has offsets.
        """
        groups = self.layer.groups
        padded = self._padded(a)
        pixels = _grouped(padded, groups)  # (C, groups, N, channels, H, W)
        shape = (*pixels.shape[:3], *pixels.shape[4:])
        flat = pixels.movedim(3, -1).flatten(2, 4)  # (C, groups, N H W, channels)
        pixel_gram = (flat @ flat.mT).view(*shape, *shape[2:])
        gradients = _grouped(b, groups).movedim(3, -1).flatten(2, 4)
        gradient_gram = (gradients @ gradients.mT).view(
            *shape[:3], *b.shape[-2:], b.shape[1], *b.shape[-2:]
        )
        patch_gram = torch.zeros_like(gradient_gram)
        for rows, columns in self._offsets(b.shape[-2], b.shape[-1]):
            patch_gram = patch_gram + pixel_gram[:, :, :, rows, columns, :, rows, columns]
        return (patch_gram * gradient_gram).flatten(1).sum(dim=1, dtype=torch.float64)

    def outputs_with(self, weight: Tensor, a: Tensor) -> Tensor:
        """See `MatrixRule.outputs_with`."""
        layer = self.layer
        zeros = layer.padding_mode == "zeros"
        pixels = (a if zeros else self._padded(a)).flatten(0, 1)
        padding = layer.padding if zeros else 0
        outputs = F.conv2d(
            pixels, weight, None, layer.stride, padding, layer.dilation, layer.groups
        )
        return outputs.unflatten(0, a.shape[:2])

    def bias_gradients(self, b: Tensor) -> Tensor:
        """See `MatrixRule.bias_gradients`."""
        return b.flatten(3).sum(dim=(1, 3))

    def weight_gradients(self, a: Tensor, b: Tensor) -> Tensor:
        """See `MatrixRule.weight_gradients`."""
        left, right, top, bottom = self._padding()
        padding = [top, left]
        if self.layer.padding_mode != "zeros" or (left, top) != (right, bottom):
            a, padding = self._padded(a), [0, 0]
        return _weight_gradients(self.layer, a, b, padding, transposed=False)

    def _padding(self) -> tuple[int, int, int, int]:
        left, right, top, bottom = self.layer._reversed_padding_repeated_twice
        return left, right, top, bottom

    def _padded(self, a: Tensor) -> Tensor:
        padding = self._padding()
        if not any(padding):
            return a
        mode = "constant" if self.layer.padding_mode == "zeros" else self.layer.padding_mode
        return F.pad(a.flatten(0, 1), padding, mode).unflatten(0, a.shape[:2])

    def _offsets(self, height: int, width: int) -> list[tuple[slice, slice]]:
        """For each offset in the kernel, the padded pixels that it sees at each position."""
        (down, across), (step_y, step_x) = self.layer.stride, self.layer.dilation
        rows, columns = self.layer.kernel_size
        return [
            (
                slice(y * step_y, y * step_y + (height - 1) * down + 1, down),
                slice(x * step_x, x * step_x + (width - 1) * across + 1, across),
            )
            for y in range(rows)
            for x in range(columns)
        ]


class ConvTransposeRule(ConvolutionRule):
    """`torch.nn.ConvTranspose2d`: always by explicit gradients."""

    layer: nn.ConvTranspose2d  # type: ignore[assignment]

    def at_once(self, a: Tensor, b: Tensor) -> int:
        """See `LayerRule.at_once`."""
        return super().at_once(b, a)

    def prefers_gram(self, a: Tensor, b: Tensor) -> bool:
        """See `MatrixRule.prefers_gram`."""
        return False

    def weight_gradients(self, a: Tensor, b: Tensor) -> Tensor:
        """See `MatrixRule.weight_gradients`."""
        padding = [int(size) for size in self.layer.padding]
        return _weight_gradients(self.layer, a, b, padding, transposed=True)


def _weight_gradients(
    layer: nn.Conv2d | nn.ConvTranspose2d,
    a: Tensor,
    b: Tensor,
    padding: list[int],
    transposed: bool,
) -> Tensor:
    """Gradients by one convolution in which each candidate is a group of its own."""
    count = len(a)
    output_padding = [int(size) for size in layer.output_padding] if transposed else [0, 0]
    # Only its shape and memory format matter.
    weight = layer.weight.detach()
    if count > 1:
        weight = weight.new_empty(1).expand(count * len(weight), *weight.shape[1:])
    _, gradients, _ = torch.ops.aten.convolution_backward(
        b.transpose(0, 1).flatten(1, 2),
        a.transpose(0, 1).flatten(1, 2),
        weight,
        None,
        list(layer.stride),
        padding,
        list(layer.dilation),
        transposed,
        output_padding,
        count * layer.groups,
        [False, True, False],
    )
    return gradients.unflatten(0, (count, -1))


def _grouped(tensor: Tensor, groups: int) -> Tensor:
    """``(C, N, channels, H, W)`` as ``(C, groups, N, channels / groups, H, W)``."""
    return tensor.unflatten(2, (groups, -1)).transpose(1, 2)
