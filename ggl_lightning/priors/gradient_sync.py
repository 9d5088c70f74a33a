"""Averaging over ranks for training steps with several backward passes of different parameters.

DistributedDataParallel expects each of the module's parameters to receive a gradient in every
backward pass. A GAN's passes each touch one network only, which plain ``ddp`` answers with an
error and ``ddp_find_unused_parameters_true`` with a search of the graph per pass. Averaging after
the pass, in one collective, is correct under either and costs less.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor


def average_over_ranks(tensors: Iterable[Tensor | None]) -> None:
    """Replaces each tensor by its mean over all ranks, in place, with one collective.

    Does nothing in a process that is not part of a distributed run.

    Args:
        tensors: Floating-point tensors of one dtype, the same ones in the same order on every
            rank. None (a parameter without gradient) is skipped.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return
    present = [tensor for tensor in tensors if tensor is not None]
    flat = torch.cat([tensor.detach().flatten() for tensor in present])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    chunks = flat.split([tensor.numel() for tensor in present])
    for tensor, chunk in zip(present, chunks, strict=True):
        tensor.detach().copy_(chunk.view_as(tensor))
