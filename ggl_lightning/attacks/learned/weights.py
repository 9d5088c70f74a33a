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
    is in closed form (`expected_error`), and descends by Adam on the logarithms of the weights.

    Args:
        kernels: ``K_l`` of the ``N`` training examples, ``(L, N, N)``, of unit diagonal.
        targets: ``(N, D)``.
        noise: Of each kernel's features, see `expected_error`; None for none.
        twins: See `left_out_residuals`.
        start: Weights that are nearly right, ``(L,)``; None begins at equal ones.
    """
    middle = torch.stack([centred(kernel.double()) for kernel in kernels])
    reduced = principal(targets.double())
    noise = torch.zeros(len(kernels), dtype=torch.float64) if noise is None else noise.double()
    # Where noise outweighs a kernel's features, trust begins low.
    first = 3.0 - torch.log1p(20 * len(targets) * noise) if start is None else start.log()
    steps = _STEPS if start is None else _STEPS // 6
    logs = first.clamp(*_RANGE).requires_grad_()
    optimizer = torch.optim.Adam([logs], lr=_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, chosen = float("inf"), logs.detach().clone()
    with torch.enable_grad():
        for _ in range(steps):
            optimizer.zero_grad()
            error = expected_error(middle, logs.exp(), reduced, noise, twins)
            if error.item() < best:
                best, chosen = error.item(), logs.detach().clone()
            error.backward()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                logs.clamp_(*_RANGE)
    rest = float(targets.double().var(dim=0, correction=0).sum()) - float(
        reduced.var(dim=0, correction=0).sum()
    )
    return Choice(chosen.exp(), best + max(0.0, rest))


def expected_error(
    kernels: Tensor, weights: Tensor, targets: Tensor, noise: Tensor, twins: int = 1
) -> Tensor:
    """Squared error, summed over dimensions, of ridge regression on noisy features.

    The leave-one-out error, plus what noise in the features of the example asked about adds: an
    example whose features under kernel ``l`` carry noise of variance ``r_l`` per feature is
    predicted with a variance of ``sum_l c_l^2 r_l tr(a^T K_l a)``, for coefficients ``a``.

    Args:
        kernels: Centred kernels ``(L, N, N)``, float64.
        weights: ``c``, ``(L,)``.
        targets: ``(N, D)``.
        noise: ``r``, ``(L,)``.
        twins: See `left_out_residuals`.

    Returns:
        A scalar, differentiable with respect to the weights.
    """
    count = len(targets)
    kernel = torch.einsum("l,lij->ij", weights, kernels)
    factor = torch.linalg.cholesky(kernel + torch.eye(count, dtype=kernel.dtype))
    inverse = torch.cholesky_inverse(factor)
    coefficients = inverse @ (targets - targets.mean(dim=0))
    residuals = left_out_residuals(inverse, coefficients, 1.0, twins)
    error = residuals.square().sum() / count
    if not bool(noise.any()):
        return error
    spread = torch.stack([(coefficients * (each @ coefficients)).sum() for each in kernels])
    return error + (weights.square() * noise * spread).sum()


def principal(targets: Tensor, directions: int = _DIRECTIONS) -> Tensor:
    """Centred targets in their principal directions: enough to compare errors by."""
    middle = targets - targets.mean(dim=0)
    if min(middle.shape) <= directions:
        return middle
    with seeded(0):  # it draws from the global generator
        _, _, basis = torch.svd_lowrank(middle, directions, niter=2)
    return middle @ basis
