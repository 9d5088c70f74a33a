"""Batch-norm's running statistics: images look to the client model like those it has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ggl_lightning.attacks.penalties.base import Penalty

if TYPE_CHECKING:
    from ggl_lightning.attacks.base import Target


class BatchNormStatistics(Penalty):
    """Distance of a candidate's statistics in every batch-norm layer from the running ones.

    ``sum_l ||mean_l(x) - running mean_l|| + ||var_l(x) - running var_l||`` over the layers (Yin et
    al. 2021, GradInversion, arXiv 2104.07586, eq. 8), over all images of a candidate, with biased
    variances. It says something if the client model has been trained; statistics of the private
    images themselves, from buffers that were sent, are what an attack's ``buffer_weight`` is for.

    Args:
        weight: Its weight.

    Raises:
        UserError: If ``weight`` is negative.
    """

    def problems(self, target: Target, population: int) -> list[str]:
        """See `Penalty.problems`: client models without running statistics."""
        if _layers(target.model):
            return []
        return [
            "BatchNormStatistics needs batch-norm layers with running statistics, but the client "
            f"model {type(target.model).__name__} has none: leave the penalty out."
        ]

    def __call__(self, images: Tensor, model: nn.Module, consensus: Tensor | None) -> Tensor:
        """See `Penalty.__call__`."""
        found: list[Tensor] = []

        def compare(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            features = inputs[0].unflatten(0, images.shape[:2])
            over = [dim for dim in range(features.dim()) if dim not in (0, 2)]
            variance, mean = torch.var_mean(features, over, correction=0)
            for ours, name in ((mean, "running_mean"), (variance, "running_var")):
                theirs = layer.get_buffer(name)
                found.append(torch.linalg.vector_norm(ours - theirs, dim=1))

        handles = [layer.register_forward_pre_hook(compare) for layer in _layers(model)]
        try:
            model(images.flatten(0, 1))
        finally:
            for handle in handles:
                handle.remove()
        return torch.stack(found).sum(dim=0)


def _layers(model: nn.Module) -> list[_BatchNorm]:
    return [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]
