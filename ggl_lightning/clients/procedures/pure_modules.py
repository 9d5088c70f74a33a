"""Batch-norm whose running statistics become new tensors instead of changing in place."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from ggl_lightning.clients.procedures.state import same_tensors

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class PureBatchNorm(nn.Module):
    """Batch-norm in training mode, on the tensors of another.

    It computes what ``nn.BatchNorm2d`` and its like do, but its running statistics afterwards are
    differentiable with respect to its input, and it can be vectorised: each candidate is normalised
    by the statistics of its own images.

    Args:
        module: The batch-norm, in training mode.
        track: Whether the running statistics are needed; else they stay as they are.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(self, module: _BatchNorm, track: bool) -> None:
        super().__init__()
        for name in ("weight", "bias"):
            self.register_parameter(name, getattr(module, name))
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(module, name))
        self.eps = module.eps
        self.momentum = module.momentum
        self._track = track

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalises inputs ``(N, C, ...)``; see the class for what becomes of the buffers."""
        if self._track:
            self._follow(inputs)
        return F.batch_norm(inputs, None, None, self.weight, self.bias, True, 0.0, self.eps)

    def _follow(self, inputs: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        over = [dim for dim in range(inputs.dim()) if dim != 1]
        # As torch: the batch is normalised by its biased variance, the running one is unbiased.
        variance, mean = torch.var_mean(inputs, over, correction=1)
        counted = self.num_batches_tracked + 1
        share = 1 / counted if self.momentum is None else self.momentum
        self.num_batches_tracked = counted
        self.running_mean = share * mean + (1 - share) * self.running_mean
        self.running_var = share * variance + (1 - share) * self.running_var


def with_pure_batch_norm(model: nn.Module, track: bool) -> nn.Module:
    """A copy of a model on the same tensors in which batch-norm in training mode is pure.

    Subclasses of torch's batch-norms stay as they are: they may do something else.

    Args:
        model: The client model, in the mode it is to run in.
        track: Whether running statistics afterwards are needed.
    """
    model = same_tensors(model)
    pure: dict[int, nn.Module] = {
        id(module): PureBatchNorm(module, track)
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
