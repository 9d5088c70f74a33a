"""Exponential moving average (EMA) of a generator's weights."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ggl_lightning.errors import UserError
from ggl_lightning.priors.wgan_gp_networks import WGANGPGenerator


class GeneratorAverage(nn.Module):
    """A copy of a generator that follows it slowly; its samples are better than the latest ones.

    Batch-norm statistics are averaged like the weights, because they belong to them.
    ``torch.optim.swa_utils.AveragedModel`` does the same arithmetic but asks the device for its
    step count in every update, which makes the host wait for it.

    Args:
        generator: The generator to follow.
        decay: Weight of the past in each update, in ``[0, 1)``. The first updates use
            ``(1 + n) / (10 + n)`` while that is smaller, so that the random start is forgotten.

    Raises:
        UserError: If ``decay`` is outside ``[0, 1)``.
    """

    def __init__(self, generator: WGANGPGenerator, decay: float) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise UserError(f"ema_decay is {decay}: it must be at least 0 and less than 1.")
        self.decay = decay
        self.module: WGANGPGenerator = deepcopy(generator).requires_grad_(False)

    @torch.no_grad()
    def update(self, generator: nn.Module, n_updates: int) -> None:
        """Moves the average towards the generator.

        Args:
            generator: The generator, after its optimiser step.
            n_updates: Updates done before this one.
        """
        decay = min(self.decay, (1 + n_updates) / (10 + n_updates))
        pairs = list(zip(_tensors(self.module), _tensors(generator), strict=True))
        averaged = [(old, new) for old, new in pairs if old.is_floating_point()]
        average = get_ema_multi_avg_fn(decay)
        average([old for old, _ in averaged], [new for _, new in averaged], None)
        for old, new in pairs:
            if not old.is_floating_point():
                old.copy_(new)  # batch norm's counter


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*(parameter.detach() for parameter in module.parameters()), *module.buffers()]
