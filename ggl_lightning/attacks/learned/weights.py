"""Which parameter tensors to trust how far, by the leave-one-out error on public images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ggl_lightning.attacks.learned.ridge import centred, left_out_residuals
from ggl_lightning.seeding import seeded

_STEPS = 60
_RATE = 0.3
_DIRECTIONS = 96
"""Principal directions of the targets that errors are measured in while weights are chosen."""

_RANGE = (-14.0, 14.0)
"""Of the logarithms of the weights."""


@dataclass(frozen=True)
class Choice:
    """Weights of kernels, and what they are expected to come to.

    Attributes:
        weights: ``c``, ``(L,)``, float64.
        error: The squared error per target that is expected of them, its sum over dimensions.
    """

    weights: Tensor
    error: float


def choose_weights(
    kernels: Tensor,
    targets: Tensor,
    noise: Tensor | None = None,
    twins: int = 1,
    start: Tensor | None = None,
) -> Choice:
    """Minimises the expected error of ridge regression over the weights of several kernels.

    The kernel is ``sum_l c_l K_l`` with ridge 1, so that the weights set the ridge too. The error
    and its derivatives are in closed form (`error_and_slopes`); Adam descends on the logarithms of
    the weights.

    Args:
        kernels: ``K_l`` of the ``N`` training examples, ``(L, N, N)``, of unit diagonal.
        targets: ``(N, D)``.
        noise: Of each kernel's features, see `error_and_slopes`; None for none.
        twins: See `left_out_residuals`.
        start: Weights that are nearly right, ``(L,)``; None begins at equal ones.
    """
    middle = torch.stack([centred(kernel.double()) for kernel in kernels])
    reduced = principal(targets.double())
    noise = torch.zeros(len(kernels), dtype=torch.float64) if noise is None else noise.double()
    # Where noise outweighs a kernel's features, trust begins low.
    first = 3.0 - torch.log1p(20 * len(targets) * noise) if start is None else start.log()
    steps = _STEPS if start is None else _STEPS // 6
    logs = first.clamp(*_RANGE)
    optimizer = torch.optim.Adam([logs], lr=_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, chosen = float("inf"), logs.clone()
    for _ in range(steps):
        weights = logs.exp()
        error, slopes = error_and_slopes(middle, weights, reduced, noise, twins)
        if error < best:
            best, chosen = error, logs.clone()
        logs.grad = weights * slopes
        optimizer.step()
        schedule.step()
        logs.clamp_(*_RANGE)
    rest = float(targets.double().var(dim=0, correction=0).sum()) - float(
        reduced.var(dim=0, correction=0).sum()
    )
    return Choice(chosen.exp(), best + max(0.0, rest))


def error_and_slopes(
    kernels: Tensor, weights: Tensor, targets: Tensor, noise: Tensor, twins: int = 1
) -> tuple[float, Tensor]:
    """Squared error, summed over dimensions, of ridge regression on noisy features.

    The leave-one-out error, plus what noise in the features of the example asked about adds: an
    example whose features under kernel ``l`` carry noise of variance ``r_l`` per feature is
    predicted with a variance of ``sum_l c_l^2 r_l tr(a^T K_l a)``, for coefficients ``a``.

    Its derivative is ``<H, K_l>`` for one matrix ``H`` that all kernels share, from
    ``dG = -G dK G`` and ``da = -G dK a`` with ``G = (K + I)^-1``. That spares differentiating
    through the factorisation, which takes several times as long.

    Args:
        kernels: Centred kernels ``(L, N, N)``, float64.
        weights: ``c``, ``(L,)``.
        targets: ``(N, D)``.
        noise: ``r``, ``(L,)``.
        twins: See `left_out_residuals`.

    Returns:
        The error, and its derivatives with respect to the weights, ``(L,)``.
    """
    count = len(targets)
    flat = kernels.flatten(1)
    kernel = (weights @ flat).view(count, count)
    kernel.diagonal().add_(1)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(kernel))
    coefficients = inverse @ (targets - targets.mean(dim=0))
    residuals = left_out_residuals(inverse, coefficients, 1.0, twins)
    error = float(residuals.square().sum()) / count
    # A residual is B^-1 a with B a block of G: its derivative needs another B^-1.
    twice = left_out_residuals(inverse, residuals, 1.0, twins)
    groups = (count // twins, twins)
    blocks = residuals.unflatten(0, groups) @ twice.unflatten(0, groups).mT
    moved = torch.einsum("ngs,gst->ngt", inverse.unflatten(1, groups), blocks).flatten(1)
    shared = (moved @ inverse - (inverse @ twice) @ coefficients.T) * (2 / count)
    if not bool(noise.any()):
        return error, flat @ shared.flatten()
    spread = flat @ (coefficients @ coefficients.T).flatten()
    error += float((weights.square() * noise * spread).sum())
    noisy = ((weights.square() * noise) @ flat).view(count, count)
    shared -= 2 * (inverse @ (noisy @ coefficients)) @ coefficients.T
    return error, flat @ shared.flatten() + 2 * weights * noise * spread


def principal(targets: Tensor, directions: int = _DIRECTIONS) -> Tensor:
    """Centred targets in their principal directions: enough to compare errors by."""
    middle = targets - targets.mean(dim=0)
    if min(middle.shape) <= directions:
        return middle
    with seeded(0):  # it draws from the global generator
        _, _, basis = torch.svd_lowrank(middle, directions, niter=2)
    return middle @ basis
