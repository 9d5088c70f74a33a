"""Batch-norm whose running statistics become new tensors instead of changing in place."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class PureBatchNorm(nn.Module):
    """Batch-norm in training mode, on the tensors of another.

    It computes what ``nn.BatchNorm2d`` and its like do, but its running statistics afterwards are
    differentiable with respect to its input, and it can be vectorised: each candidate is normalised
    by the statistics of its own images.

    Args:
        module: The batch-norm, in training mode.
        track: Whether the running statistics are needed; else they stay as they are.
        slopes: Whether the output's gradients will be differentiated further. Torch's own
            batch-norm is faster, but from the third derivative on, and when vectorised from the
            second on, its derivatives are wrong.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(self, module: _BatchNorm, track: bool, slopes: bool) -> None:
        super().__init__()
        for name in ("weight", "bias"):
            self.register_parameter(name, getattr(module, name))
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(module, name))
        self.eps = module.eps
        self.momentum = module.momentum
        self._track = track
        self._slopes = slopes

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalises inputs ``(N, C, ...)``; see the class for what becomes of the buffers."""
        if self._track:
            self._follow(inputs)
        if self._slopes:
            return self._from_elementary_operations(inputs)
        return F.batch_norm(inputs, None, None, self.weight, self.bias, True, 0.0, self.eps)

    def _from_elementary_operations(self, inputs: Tensor) -> Tensor:
        variance, mean = torch.var_mean(
            inputs, _all_but_channels(inputs), correction=0, keepdim=True
        )
        outputs = (inputs - mean) * torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            outputs = outputs * self.weight.view_as(mean)
        return outputs if self.bias is None else outputs + self.bias.view_as(mean)

    def _follow(self, inputs: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        # As torch: the batch is normalised by its biased variance, the running one is unbiased.
        variance, mean = torch.var_mean(inputs, _all_but_channels(inputs), correction=1)
        counted = self.num_batches_tracked + 1
        share = 1 / counted if self.momentum is None else self.momentum
        self.num_batches_tracked = counted
        self.running_mean = share * mean + (1 - share) * self.running_mean
        self.running_var = share * variance + (1 - share) * self.running_var


def _all_but_channels(inputs: Tensor) -> list[int]:
    return [dim for dim in range(inputs.dim()) if dim != 1]


def with_pure_batch_norm(model: nn.Module, track: bool, slopes: bool) -> nn.Module:
    """Makes batch-norm in training mode pure.

    Subclasses of torch's batch-norms stay as they are: they may do something else.

    Args:
        model: A copy of the client model's structure, in the mode it is to run in. It changes.
        track: Whether running statistics afterwards are needed.
        slopes: Whether gradients will be differentiated further.

    Returns:
        The model; another module if it is itself a batch-norm.
    """
    pure: dict[int, nn.Module] = {
        id(module): PureBatchNorm(module, track, slopes)
        for module in model.modules()
        if type(module) in _BATCH_NORMS and isinstance(module, _BatchNorm) and module.training
    }
    if id(model) in pure:
        return pure[id(model)]
    for parent in model.modules():
        # Not `named_children`, which leaves out a module's second name in the same parent.
        for name, child in parent._modules.items():
            if id(child) in pure:
                parent._modules[name] = pure[id(child)]
    return model
