"""Which parameter tensors to trust how far, by the leave-one-out error on public images."""

from __future__ import annotations

import torch
from torch import Tensor

_STEPS = 60
_RATE = 0.3
_DIRECTIONS = 96
"""Principal directions of the targets that errors are measured in while weights are chosen."""

_RANGE = (-12.0, 12.0)
"""Of the logarithms of the weights."""


def choose_weights(kernels: Tensor, targets: Tensor) -> Tensor:
    """Minimises the leave-one-out error of ridge regression over the weights of several kernels.

    The kernel is ``sum_l c_l K_l`` with ridge 1, so that the weights set the ridge too. The error
    is in closed form (`leave_one_out_error`), and descends by Adam on the logarithms of the
    weights, from equal ones.

    Args:
        kernels: ``K_l`` of the ``N`` training examples, ``(L, N, N)``, of unit diagonal.
        targets: ``(N, D)``.

    Returns:
        ``c``, ``(L,)``, float64.
    """
    kernels = torch.stack([_centred(kernel.double()) for kernel in kernels])
    reduced = _principal(targets.double())
    logs = torch.full((len(kernels),), 3.0, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logs], lr=_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
    best, chosen = float("inf"), logs.detach().clone()
    with torch.enable_grad():
        for _ in range(_STEPS):
            optimizer.zero_grad()
            error = leave_one_out_error(torch.einsum("l,lij->ij", logs.exp(), kernels), reduced)
            if error.item() < best:
                best, chosen = error.item(), logs.detach().clone()
            error.backward()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                logs.clamp_(*_RANGE)
    return chosen.exp()


def leave_one_out_error(centred: Tensor, targets: Tensor) -> Tensor:
    """Mean squared leave-one-out error of ridge regression with ridge 1 and an intercept.

    Residual over ``1 - S_ii`` with the hat matrix ``S`` (Allen 1974), see `KernelRidge`.

    Args:
        centred: A centred kernel ``(N, N)``, float64.
        targets: ``(N, D)``.

    Returns:
        A scalar, differentiable with respect to the kernel.
    """
    count = len(centred)
    factor = torch.linalg.cholesky(centred + torch.eye(count, dtype=centred.dtype))
    inverse = torch.cholesky_inverse(factor)
    coefficients = inverse @ (targets - targets.mean(dim=0))
    shares = inverse.diagonal() - 1 / count
    return (coefficients / shares.unsqueeze(1)).square().mean()


def _centred(kernel: Tensor) -> Tensor:
    means = kernel.mean(dim=0)
    return kernel - means - means.unsqueeze(1) + means.mean()


def _principal(targets: Tensor) -> Tensor:
    centred = targets - targets.mean(dim=0)
    if min(centred.shape) <= _DIRECTIONS:
        return centred
    _, _, directions = torch.svd_lowrank(centred, _DIRECTIONS, niter=2)
    return centred @ directions
