"""What batch-norm's running statistics, sent beside an update, say of the images behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from ggl_lightning.clients.procedures.pure_modules import PureBatchNorm, with_pure_batch_norm
from ggl_lightning.clients.procedures.state import ClientState
from ggl_lightning.errors import UserError


class BatchStatistics(NamedTuple):
    """What batch-norm normalises a batch by.

    Attributes:
        mean: Of each channel, over images and positions: ``(..., channels)``.
        variance: Likewise, biased.
    """

    mean: Tensor
    variance: Tensor


@dataclass(frozen=True, eq=False)
class RunningStatistics:
    """Buffers of one batch-norm layer.

    Attributes:
        mean: ``(..., channels)``.
        variance: Likewise, unbiased.
        batches: How many batches they have seen; None if it is not known.
    """

    mean: Tensor
    variance: Tensor
    batches: int | None = None


def batch_statistics(
    before: RunningStatistics, after: RunningStatistics, momentum: float | None, count: int
) -> BatchStatistics:
    """Reads off a batch's statistics from what it did to the running ones.

    In training mode ``after = (1 - m) * before + m * batch`` with the momentum ``m``, which is
    solved for ``batch``: exact after one step, up to rounding, which ``1 / m`` blows up. After
    ``K`` steps it is the weighted mean of their batches, step ``k`` with a weight in proportion to
    ``(1 - m)^(K - k)``; without momentum, the plain mean. Later steps ran with other weights, so
    compare it with what the same steps make of a candidate's images.

    Args:
        before: The layer's buffers before training.
        after: And afterwards; may have more dimensions in front, such as candidates.
        momentum: The layer's momentum; None if it averages over all batches.
        count: Values per channel in a batch, images times positions: running variances are
            unbiased, batches are normalised by biased ones. Where batches differ in size, that of
            most of them; then the variance is exact to about one in ``count``.

    Raises:
        UserError: If the buffers say nothing of the batch: there was no batch, the momentum is 0,
            or it is None and the number of batches is not known.
    """
    steps = 1
    if before.batches is not None and after.batches is not None:
        steps = after.batches - before.batches
    if steps < 1:
        raise UserError(
            f"Batch-norm has seen {steps} batches between the two states: its running statistics "
            "say nothing of the images. It did not run in training mode."
        )
    if momentum is None:
        if before.batches is None:
            raise UserError(
                "Batch-norm without momentum averages over all batches: without its number of "
                "batches (num_batches_tracked) nothing can be read off."
            )
        kept = before.batches / (before.batches + steps)
    else:
        kept = (1 - momentum) ** steps
    if kept == 1:
        raise UserError("momentum of batch-norm is 0: its running statistics never change.")
    mean = (after.mean - kept * before.mean) / (1 - kept)
    variance = (after.variance - kept * before.variance) / (1 - kept)
    return BatchStatistics(mean, variance * ((count - 1) / count))


def sent_statistics(
    state: ClientState,
    buffers: Mapping[str, Tensor],
    image_shape: tuple[int, int, int],
    batch_size: int,
) -> dict[str, BatchStatistics]:
    """Reads off the batch statistics of all batch-norm layers; see `batch_statistics`.

    Args:
        state: Where training began.
        buffers: The buffers that were sent, or those of a candidate's or a population's simulated
            update, of which the result is a differentiable function.
        image_shape: ``(3, H, W)``.
        batch_size: Images per step.

    Returns:
        By the layers' names, those whose running statistics were sent.

    Raises:
        UserError: If nothing can be read off.
    """
    return read_statistics(state, buffers, values_per_image(state, image_shape), batch_size)


def read_statistics(
    state: ClientState, buffers: Mapping[str, Tensor], values: Mapping[str, int], batch_size: int
) -> dict[str, BatchStatistics]:
    """As `sent_statistics`, with what `values_per_image` found instead of a shape of images."""
    found = {}
    for name, module in state.model.named_modules():
        prefix = f"{name}." if name else ""
        if name in values and f"{prefix}running_mean" in buffers:
            found[name] = batch_statistics(
                _running(state.buffers, prefix),
                _running(buffers, prefix),
                module.momentum if isinstance(module.momentum, float | int) else None,
                values[name] * batch_size,
            )
    return found


def layer_statistics(state: ClientState, images: Tensor) -> dict[str, BatchStatistics]:
    """Statistics of what goes into each batch-norm layer, where all images are one batch.

    What a client's first step does with all its images; it does not depend on their order. Dropout
    is off. Layers that are called twice are left out. It can be vectorised over candidates by
    `torch.func.vmap`.

    Args:
        state: The client model with its weights.
        images: ``(N, 3, H, W)`` as the model sees them.

    Returns:
        By the layers' names; differentiable with respect to ``images``.
    """
    model = with_pure_batch_norm(state.copy_in_mode("train"), track=False, slopes=True)
    calls: dict[str, list[BatchStatistics]] = {}
    for name, module in model.named_modules():
        if isinstance(module, _DropoutNd):
            module.eval()
        if isinstance(module, PureBatchNorm | _BatchNorm):
            calls[name] = []

            def note(
                _module: nn.Module, inputs: tuple[Tensor, ...], found: list = calls[name]
            ) -> None:
                over = [dim for dim in range(inputs[0].dim()) if dim != 1]
                variance, mean = torch.var_mean(inputs[0], over, correction=0)
                found.append(BatchStatistics(mean, variance))

            module.register_forward_pre_hook(note)
    state.run(model, images)
    return {name: found[0] for name, found in calls.items() if len(found) == 1}


def statistics_penalty(
    ours: Mapping[str, BatchStatistics], theirs: Mapping[str, BatchStatistics]
) -> Tensor:
    """How far candidates' statistics are from those that were read off.

    ``sum_l ||mean_l - mean'_l||^2 + ||variance_l - variance'_l||^2`` over the layers, as in
    GradInversion (Yin et al., CVPR 2021), with squares; an objective gives it a weight of its own.

    Args:
        ours: A candidate's, or those of ``C`` candidates, by layer.
        theirs: What was read off. Layers that only one of the two has are left out.

    Returns:
        A number, or ``(C,)``.

    Raises:
        UserError: If they have no layer in common.
    """
    common = [name for name in theirs if name in ours]
    if not common:
        raise UserError(
            "The received buffers and the client model have no batch-norm layer in common: the "
            "penalty on batch statistics has nothing to compare."
        )
    return torch.stack(
        [
            (ours[name].mean - theirs[name].mean).square().sum(-1)
            + (ours[name].variance - theirs[name].variance).square().sum(-1)
            for name in common
        ]
    ).sum(0)


def values_per_image(state: ClientState, image_shape: tuple[int, int, int]) -> dict[str, int]:
    """How many values per channel of one image each batch-norm layer sees.

    Args:
        state: The client model.
        image_shape: ``(3, H, W)``.

    Returns:
        By the layers' names.

    Raises:
        UserError: If the model does not take such images.
    """
    model = state.copy_in_mode("eval")
    values: dict[str, int] = {}
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):

            def note(_module: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                values[name] = inputs[0].numel() // inputs[0].shape[0] // inputs[0].shape[1]

            module.register_forward_pre_hook(note)
    like = next(iter({**state.weights, **state.fixed}.values()))
    try:
        with torch.no_grad():
            state.run(model, like.new_zeros(1, *image_shape))
    except RuntimeError as error:
        raise UserError(
            f"The client model {type(state.model).__name__} does not take images of "
            f"{' x '.join(map(str, image_shape))}: {error}"
        ) from error
    return values


def _running(buffers: Mapping[str, Tensor], prefix: str) -> RunningStatistics:
    batches = buffers.get(f"{prefix}num_batches_tracked")
    return RunningStatistics(
        buffers[f"{prefix}running_mean"],
        buffers[f"{prefix}running_var"],
        # The same for all candidates of a population.
        None if batches is None else int(batches.flatten()[0]),
    )
