"""TuRBO's model of the objective: a Gaussian process with one lengthscale per dimension."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from gpytorch.constraints import Interval
from gpytorch.kernels import MaternKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.mlls import ExactMarginalLogLikelihood
from linear_operator.utils.cholesky import psd_safe_cholesky
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

_FIRST_STEPS = 50
_LATER_STEPS = 5


def fit_gaussian_process(
    points: Tensor, targets: Tensor, start: Tensor | None = None
) -> tuple[SingleTaskGP, Tensor]:
    """Maximises the marginal likelihood over constant mean, lengthscales, scale and noise.

    Kernel (Matern-5/2) and bounds are those of Eriksson et al. 2019.

    Args:
        points: ``(n, d)`` in the unit cube, float64.
        targets: ``(n,)``, standardised.
        start: Hyper-parameters fitted to slightly fewer points, from where a few steps of L-BFGS
            do; None takes more steps, from the kernel's own initial values.

    Returns:
        The model, in eval mode on the points' device, and its hyper-parameters in one vector, on
        the CPU.
    """
    matern = MaternKernel(
        nu=2.5, ard_num_dims=points.shape[1], lengthscale_constraint=Interval(0.005, 4.0)
    )
    model = SingleTaskGP(
        points,
        targets.unsqueeze(-1),
        covar_module=ScaleKernel(matern, outputscale_constraint=Interval(0.05, 20.0)),
        likelihood=GaussianLikelihood(noise_constraint=Interval(1e-6, 1e-1)),
        outcome_transform=None,  # the targets are standardised already
    )
    if start is not None:
        vector_to_parameters(start.to(points), model.parameters())
    steps = _FIRST_STEPS if start is None else _LATER_STEPS
    fit_gpytorch_mll(
        ExactMarginalLogLikelihood(model.likelihood, model),
        closure=likelihood_and_gradient(model),
        optimizer_kwargs={"options": {"maxiter": steps}},
    )
    return model, parameters_to_vector(model.parameters()).detach().cpu()


def likelihood_and_gradient(
    model: SingleTaskGP,
) -> Callable[[], tuple[Tensor, tuple[Tensor, ...]]]:
    """Negative log marginal likelihood of a data point, and its gradient, as BoTorch fits it.

    The gradient with respect to the covariance matrix ``K`` is ``(K^-1 - a a^T) / 2`` with
    ``a = K^-1 (y - m)`` (Rasmussen and Williams 2006, eq. 5.9). Autograd, which would go through
    the Cholesky decomposition instead, takes more than twice the time for hundreds of points.

    Args:
        model: The model, with its data.

    Returns:
        A function without arguments: value, and gradients in ``model.parameters()`` order.
    """
    parameters = list(model.parameters())
    points, targets = model.train_inputs[0], model.train_targets
    count = len(targets)

    def evaluate() -> tuple[Tensor, tuple[Tensor, ...]]:
        with torch.enable_grad():
            noise = model.likelihood.noise * torch.eye(count).to(points)
            covariance = model.covar_module(points).to_dense() + noise
            residuals = targets - model.mean_module(points)
        with torch.no_grad():
            factor = psd_safe_cholesky(covariance)
            solved = torch.cholesky_solve(residuals.unsqueeze(1), factor)
            slope = (torch.cholesky_inverse(factor) - solved @ solved.T) / 2
            fit = residuals @ solved[:, 0] / 2
            value = fit + factor.diagonal().log().sum() + count / 2 * math.log(2 * math.pi)
        slopes = [slope / count, solved[:, 0] / count]
        return value / count, torch.autograd.grad([covariance, residuals], parameters, slopes)

    return evaluate
