"""Batch-norm whose running statistics become new tensors instead of changing in place."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ggl_lightning.clients.procedures.batch_norm import normalise

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
        """Normalises inputs ``(N, C, ...)``; see the class for what becomes of the buffers.

        Raises:
            ValueError: If there is one value per channel, as torch's does.
        """
        values = inputs.numel() // inputs.shape[1]
        if values == 1:
            raise ValueError(
                f"Expected more than 1 value per channel when training, got {tuple(inputs.shape)}"
            )
        if self._slopes:
            outputs, mean, variance = self._from_elementary_operations(inputs)
        else:
            outputs, mean, scale = normalise(inputs, self.weight, self.bias, self.eps)
            variance = scale**-2 - self.eps
        if self._track and self.running_mean is not None and self.running_var is not None:
            self._follow(mean, variance * (values / (values - 1)))
        return outputs

    def _from_elementary_operations(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        over = [dim for dim in range(inputs.dim()) if dim != 1]
        variance, mean = torch.var_mean(inputs, over, correction=0, keepdim=True)
        outputs = (inputs - mean) * torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            outputs = outputs * self.weight.view_as(mean)
        if self.bias is not None:
            outputs = outputs + self.bias.view_as(mean)
        return outputs, mean.flatten(), variance.flatten()

    def _follow(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        counted = self.num_batches_tracked + 1
        share = 1 / counted if self.momentum is None else self.momentum
        self.num_batches_tracked = counted
        self.running_mean = share * mean + (1 - share) * self.running_mean
        self.running_var = share * unbiased_variance + (1 - share) * self.running_var


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
