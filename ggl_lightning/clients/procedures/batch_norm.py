"""Torch's batch-norm in training mode for candidates that have weights of their own.

Vectorised by torch itself, its weights become operations of their own, which take longer than the
normalisation. Here candidates are laid out as further channels, and each pass is one operation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def normalise(
    inputs: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch-norm by the batch's statistics; differentiable once.

    Args:
        inputs: ``(N, C, ...)``.
        weight: ``(C,)``; None for ones.
        bias: ``(C,)``; None for zeros.
        eps: Added to the variance.

    Returns:
        The outputs, and of each channel the mean and ``1 / sqrt(variance + eps)``, without
        gradients.
    """
    channels = inputs.shape[1]
    weight = inputs.new_ones(channels) if weight is None else weight
    bias = inputs.new_zeros(channels) if bias is None else bias
    return _Normalise.apply(inputs, weight, bias, eps)


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(
        inputs: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        return torch.native_batch_norm(inputs, weight, bias, None, None, True, 0.0, eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        given, weight, _, ctx.eps = inputs
        _, mean, scale = output
        ctx.mark_non_differentiable(mean, scale)
        ctx.save_for_backward(given, weight, mean, scale)

    @staticmethod
    def backward(ctx: Any, slope: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        return (*_NormaliseBackward.apply(slope, *ctx.saved_tensors, ctx.eps), None)

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor,
        eps: float,
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        many = info.batch_size
        outputs, mean, scale = _Normalise.apply(
            _as_channels(inputs, in_dims[0], 1, many),
            _as_channels(weight, in_dims[1], 0, many),
            _as_channels(bias, in_dims[2], 0, many),
            eps,
        )
        found = outputs.unflatten(1, (many, -1)), mean.view(many, -1), scale.view(many, -1)
        return found, (1, 0, 0)


class _NormaliseBackward(torch.autograd.Function):
    @staticmethod
    def forward(
        slope: Tensor, inputs: Tensor, weight: Tensor, mean: Tensor, scale: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        return torch.ops.aten.native_batch_norm_backward(
            slope, inputs, weight, None, None, mean, scale, True, eps, [True, True, True]
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Nothing to keep: it is not differentiated further."""

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[None, ...]:
        raise NotImplementedError("Batch-norm of `normalise` is differentiable once.")

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        slope: Tensor,
        inputs: Tensor,
        weight: Tensor,
        mean: Tensor,
        scale: Tensor,
        eps: float,
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        many = info.batch_size
        given = (slope, inputs, weight, mean, scale)
        channels = (1, 1, 0, 0, 0)
        found = _NormaliseBackward.apply(
            *(
                _as_channels(tensor, at, channel, many)
                for tensor, at, channel in zip(given, in_dims, channels, strict=False)
            ),
            eps,
        )
        of_inputs, of_weight, of_bias = found
        return (
            of_inputs.unflatten(1, (many, -1)),
            of_weight.view(many, -1),
            of_bias.view(many, -1),
        ), (1, 0, 0)


def _as_channels(tensor: Tensor, at: int | None, channel: int, many: int) -> Tensor:
    """Candidates, which are a dimension or all the same, laid out as further channels."""
    if at is None:
        tensor = tensor.unsqueeze(channel)
        shape = list(tensor.shape)
        shape[channel] = many
        tensor = tensor.expand(shape)
    else:
        tensor = tensor.movedim(at, channel)
    return tensor.flatten(channel, channel + 1).contiguous()
