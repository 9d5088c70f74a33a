"""Per-candidate gradients of convolutions."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ggl_lightning.attacks.matching.comparison import Comparison, ReceivedTensor
from ggl_lightning.attacks.matching.layer_rule import MatrixRule, Work

_WORK_AT_ONCE = 48 * 2**20
"""Multiplications of one grouped convolution over several candidates, on the CPU. Above, oneDNN is
faster with one candidate at a time."""

_MULTIPLICATIONS_PER_SUM = 30
"""How many multiplications of a large matrix product take as long as one of a sum over slices."""


class ConvolutionRule(MatrixRule):
    """`torch.nn.Conv2d`, with any stride, padding, dilation and groups."""

    layer: nn.Conv2d

    def at_once(self, a: Tensor, b: Tensor) -> int:
        """See `LayerRule.at_once`."""
        if a.device.type != "cpu" or self._is_linear():
            return super().at_once(a, b)
        work = b[0].numel() * self.layer.weight[0].numel()
        return max(1, _WORK_AT_ONCE // work)

    def work(self, a: Tensor, b: Tensor) -> Work:
        """See `MatrixRule.work`."""
        layer = self.layer
        positions = b[0].numel() // b.shape[2]
        window = math.prod(layer.kernel_size)
        inputs = layer.in_channels // layer.groups * window
        gram = positions**2 * layer.out_channels
        if self._shares_pixels(a, b):
            gram += self._pixels(a) ** 2 * layer.in_channels
            entries = window * positions**2 * layer.groups
        else:
            gram += positions**2 * inputs * layer.groups
            entries = positions**2 * layer.groups + positions * inputs * layer.groups
        return Work(layer.out_channels, inputs, positions, gram, entries)

    def weight_norm_squares(self, a: Tensor, b: Tensor) -> Tensor:
        """See `MatrixRule.weight_norm_squares`."""
        gradients = _rows(_grouped(b, self.layer.groups))
        gradient_gram = gradients @ gradients.mT
        patch_gram = self._patch_gram(a, b) if self._shares_pixels(a, b) else self._gram(a, b)
        return (patch_gram * gradient_gram).flatten(1).sum(dim=1, dtype=torch.float64)

    def _gram(self, a: Tensor, b: Tensor) -> Tensor:
        """``A A^T`` of the patches, ``(C, groups, T, T)``."""
        pixels = _grouped(self._padded(a), self.layer.groups).movedim(3, -1)
        offsets = self._offsets(b.shape[-2], b.shape[-1])
        patches = torch.cat([pixels[..., rows, columns, :] for rows, columns in offsets], dim=-1)
        flat = patches.flatten(2, 4)
        return flat @ flat.mT

    def _patch_gram(self, a: Tensor, b: Tensor) -> Tensor:
        """``A A^T`` of patches that overlap, ``(C, groups, T, T)``.

        It is a sum over the kernel's offsets of slices of the pixels' own Gram matrix, which is as
        many times smaller as the kernel has offsets.
        """
        pixels = _grouped(self._padded(a), self.layer.groups)
        flat = _rows(pixels)
        images, height, width = pixels.shape[2], *pixels.shape[4:]
        gram = (flat @ flat.mT).unflatten(3, (images, height, width))
        gram = gram.unflatten(2, (images, height, width))
        total = None
        for rows, columns in self._offsets(b.shape[-2], b.shape[-1]):
            seen = gram[:, :, :, rows, columns, :, rows, columns]
            total = seen if total is None else total + seen
        assert total is not None
        return total.flatten(5).flatten(2, 4)

    def _pixels(self, a: Tensor) -> int:
        left, right, top, bottom = self._padding()
        height, width = a.shape[-2:]
        return a.shape[1] * (height + top + bottom) * (width + left + right)

    def _shares_pixels(self, a: Tensor, b: Tensor) -> bool:
        """Whether the pixels' Gram matrix takes less work than the patches'."""
        window = math.prod(self.layer.kernel_size)
        positions = b[0].numel() // b.shape[2]
        return self._pixels(a) ** 2 < positions**2 * window

    def weight_products(self, a: Tensor, b: Tensor, other_a: Tensor, other_b: Tensor) -> Tensor:
        """See `MatrixRule.weight_products`; by Gram matrices of pixels where that is less work.

        ``<B^T A, B'^T A'>`` is the sum over pairs of positions of ``(A A'^T) * (B B'^T)``, and a
        patch's product with another is the sum over the kernel's offsets of its pixels'.
        """
        if not self.multiplies_positions(a, b):
            return super().weight_products(a, b, other_a, other_b)
        pixels, gradients = _pair_products(a, other_a), _pair_products(b, other_b)
        total = torch.zeros((), dtype=pixels.dtype, device=pixels.device)
        for window in self._windows(a.shape[-2:], b.shape[-2:]):
            (rows, columns), (out_rows, out_columns) = window
            seen = pixels[:, :, rows, columns, :, :, rows, columns]
            beside = gradients[:, :, out_rows, out_columns, :, :, out_rows, out_columns]
            total = total + (seen * beside).sum(dim=(1, 2, 3, 5, 6, 7))
        return total

    def weight_rows(self, a: Tensor, b: Tensor) -> Tensor:
        """See `MatrixRule.weight_rows`: by matrices of patches, quicker for many small images."""
        layer = self.layer
        if layer.groups > 1:
            return super().weight_rows(a, b)
        rows = []
        size = self.at_once(a, b)
        for some_a, some_b in zip(a.split(size), b.split(size), strict=True):
            pixels = self._padded(some_a).flatten(0, 1)
            patches = F.unfold(pixels, layer.kernel_size, layer.dilation, 0, layer.stride)
            patches = patches.unflatten(0, some_a.shape[:2]).transpose(1, 2).flatten(2)
            gradients = some_b.transpose(1, 2).flatten(2)
            rows.append((gradients @ patches.mT).flatten(1))
        return torch.cat(rows)

    def multiplies_positions(self, a: Tensor, b: Tensor) -> bool:
        """See `MatrixRule.multiplies_positions`: where it is less work than by entries."""
        plain = self.layer.groups == 1 and self.layer.padding_mode == "zeros"
        return plain and self._pairs_are_cheaper(a, b)

    def _pairs_are_cheaper(self, a: Tensor, b: Tensor) -> bool:
        """Whether a pair's product takes less work by positions than by entries of the weight."""
        pixels, positions = a[0].numel() // a.shape[2], b[0].numel() // b.shape[2]
        by_positions = pixels**2 * a.shape[2] + positions**2 * b.shape[2]
        sums = math.prod(self.layer.kernel_size) * positions**2
        return by_positions + _MULTIPLICATIONS_PER_SUM * sums < self.layer.weight.numel()

    def _windows(
        self, size: torch.Size, out_size: torch.Size
    ) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
        """For each offset in the kernel, the pixels it sees without padding, and at which outputs.

        Args:
            size: Height and width of the inputs.
            out_size: Of the outputs.
        """
        left, _, top, _ = self._padding()
        layer = self.layer
        vertical, horizontal = (
            [
                _seen(length, outputs, layer.stride[axis], layer.dilation[axis] * offset - before)
                for offset in range(layer.kernel_size[axis])
            ]
            for axis, (length, outputs, before) in enumerate(
                zip(size, out_size, (top, left), strict=True)
            )
        )
        for rows, out_rows in vertical:
            for columns, out_columns in horizontal:
                yield (rows, columns), (out_rows, out_columns)

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

    def mixed(self, b: Tensor, matrix: Tensor) -> Tensor:
        """See `MatrixRule.mixed`."""
        mixed = F.conv2d(b.flatten(0, 1), matrix.mT[..., None, None])
        return mixed.unflatten(0, b.shape[:2])

    def accepts_low_rank(self) -> bool:
        """See `MatrixRule.accepts_low_rank`."""
        return self.layer.groups == 1

    def bias_gradients(self, b: Tensor) -> Tensor:
        """See `MatrixRule.bias_gradients`."""
        return b.flatten(3).sum(dim=(1, 3))

    def weight_gradients(self, a: Tensor, b: Tensor) -> Tensor:
        """See `MatrixRule.weight_gradients`."""
        if self._is_linear():
            return self._linear_gradients(a, b)
        left, right, top, bottom = self._padding()
        padding = [top, left]
        if self.layer.padding_mode != "zeros" or (left, top) != (right, bottom):
            a, padding = self._padded(a), [0, 0]
        return _weight_gradients(self.layer, a, b, padding, transposed=False)

    def _is_linear(self) -> bool:
        """Whether each output position sees one input position, which a product does faster."""
        return math.prod(self.layer.kernel_size) == self.layer.groups == 1

    def _linear_gradients(self, a: Tensor, b: Tensor) -> Tensor:
        """Gradients of a layer that multiplies the channels of each position by a matrix."""
        ((rows, columns),) = self._offsets(b.shape[-2], b.shape[-1])
        inputs = _rows(_grouped(self._padded(a)[..., rows, columns], 1))
        gradients = _rows(_grouped(b, 1)).mT @ inputs
        return gradients.squeeze(1)[..., None, None]

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

    def weight_rows(self, a: Tensor, b: Tensor) -> Tensor:
        """See `MatrixRule.weight_rows`."""
        return MatrixRule.weight_rows(self, a, b)

    def multiplies_positions(self, a: Tensor, b: Tensor) -> bool:
        """See `MatrixRule.multiplies_positions`: never."""
        return False

    def at_once(self, a: Tensor, b: Tensor) -> int:
        """See `LayerRule.at_once`."""
        return super().at_once(b, a)

    def compare(
        self, a: Tensor, b: Tensor, received: dict[str, ReceivedTensor]
    ) -> dict[str, Comparison]:
        """See `LayerRule.compare`."""
        return self._compare_explicitly(a, b, received)

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


def _seen(length: int, outputs: int, stride: int, start: int) -> tuple[slice, slice]:
    """Pixels ``start + stride * t`` that exist, and the outputs ``t`` that see them."""
    first = max(0, -(start // stride))  # the first t with start + stride * t >= 0
    last = min(outputs, (length - 1 - start) // stride + 1)
    if last <= first:
        return slice(0, 0), slice(0, 0)
    begin = start + stride * first
    return slice(begin, begin + stride * (last - first - 1) + 1, stride), slice(first, last)


def _pair_products(ours: Tensor, theirs: Tensor) -> Tensor:
    """Inner products over channels, ``(C, N, H, W, D, N, H, W)``, of ``(C, N, channels, H, W)``."""
    ours, theirs = ours.movedim(2, -1), theirs.movedim(2, -1)
    products = ours.flatten(0, 3) @ theirs.flatten(0, 3).mT
    return products.unflatten(1, theirs.shape[:4]).unflatten(0, ours.shape[:4])


def _grouped(tensor: Tensor, groups: int) -> Tensor:
    """``(C, N, channels, H, W)`` as ``(C, groups, N, channels / groups, H, W)``."""
    return tensor.unflatten(2, (groups, -1)).transpose(1, 2)


def _rows(tensor: Tensor) -> Tensor:
    """``(C, groups, N, channels, H, W)`` as ``(C, groups, N H W, channels)``."""
    return tensor.movedim(3, -1).flatten(2, 4)
