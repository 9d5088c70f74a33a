"""The gradient penalty of WGAN-GP (Gulrajani et al. 2017, arXiv 1704.00028, eq. 3)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    mix: Tensor,
    weight: float = 10.0,
) -> tuple[Tensor, Tensor]:
    """Pulls the critic's gradient norm towards 1 between real and generated images.

    ``weight * E[(||grad_xhat C(xhat)||_2 - 1)^2]`` with ``xhat = real + mix * (fake - real)``.
    It is a gradient of a gradient, whose small differences half precision would lose: everything
    here runs in float32 (float64 for float64 images), with autocast off.

    Args:
        critic: Images ``(N, 3, H, W)`` -> scores ``(N,)``, one per image independently.
        real: Real images ``(N, 3, H, W)``.
        fake: Generated images of the same shape; no gradient flows into them.
        mix: Position of each ``xhat`` on its segment, ``(N,)`` in ``[0, 1]``: 0 is the real image.
        weight: Weight of the penalty; 10 in the paper.

    Returns:
        The penalty (a scalar, differentiable with respect to the critic's parameters) and the
        detached gradient norms ``(N,)``.
    """
    with torch.autocast(device_type=real.device.type, enabled=False):
        dtype = torch.promote_types(real.dtype, torch.float32)
        start, end = real.detach().to(dtype), fake.detach().to(dtype)
        position = mix.to(dtype).view(-1, *[1] * (real.dim() - 1))
        images = torch.lerp(start, end, position).requires_grad_()
        (gradient,) = torch.autograd.grad(critic(images).sum(), images, create_graph=True)
        norms = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
        return weight * (norms - 1).square().mean(), norms.detach()
