"""Kernel ridge regression in closed form, with its leave-one-out predictions."""

from __future__ import annotations

import torch
from torch import Tensor


class KernelRidge:
    """Ridge regression of targets on what a kernel matrix holds inner products of.

    Minimises ``||X - 1 b - K a||^2 + ridge * tr(a^T K a)`` with an intercept ``b`` that is not
    penalised, which is ridge regression in the kernel's features (Saunders et al. 1998). All is
    computed in float64.

    Args:
        kernel: Inner products ``K`` of the ``N`` training examples, ``(N, N)``, symmetric and not
            negative definite but for rounding.
        targets: ``X``, ``(N, D)``.
        ridge: The penalty's weight, above 0, in the kernel's unit.

    Attributes:
        coefficients: ``a`` in terms of the centred kernel, ``(N, D)``.
    """

    def __init__(self, kernel: Tensor, targets: Tensor, ridge: float) -> None:
        kernel, targets = kernel.double(), targets.double()
        self._row_means = kernel.mean(dim=0)
        self._mean = self._row_means.mean()
        self._target_mean = targets.mean(dim=0)
        centred = self._centred(kernel)
        centred.diagonal().add_(ridge)
        self._factor = torch.linalg.cholesky(centred)
        self._ridge = ridge
        self._targets = targets
        self.coefficients = torch.cholesky_solve(targets - self._target_mean, self._factor)
        self._inverse_diagonal: Tensor | None = None

    def predict(self, rows: Tensor) -> Tensor:
        """Predicts targets.

        Args:
            rows: Inner products of ``M`` examples with the training examples, ``(M, N)``.

        Returns:
            ``(M, D)``, float64.
        """
        return self._target_mean + self._centred(rows.double()) @ self.coefficients

    def leave_one_out(self) -> Tensor:
        """What each training example is predicted to be by the regression on all others.

        Exact, without fitting anew: the residual over ``1 - S_ii``, with the hat matrix ``S`` (the
        PRESS statistic, Allen 1974).

        Returns:
            ``(N, D)``, float64.
        """
        count = len(self._targets)
        shares = self._ridge * self.inverse_diagonal - 1 / count  # 1 - S_ii
        residuals = self._ridge * self.coefficients / shares[:, None]
        return self._targets - residuals

    def variances(self, rows: Tensor, own: Tensor) -> Tensor:
        """How far examples are from what the training examples span, in the kernel's unit.

        The posterior variance of a Gaussian process with this kernel, up to the process's own
        scale and the intercept's part (Rasmussen and Williams 2006, eq. 2.26).

        Args:
            rows: As in `predict`.
            own: The examples' inner products with themselves, ``(M,)``.

        Returns:
            ``(M,)``, at least 0.
        """
        rows, own = rows.double(), own.double()
        centred = self._centred(rows)
        centred_own = own - 2 * rows.mean(dim=1) + self._mean
        explained = torch.linalg.solve_triangular(self._factor, centred.mT, upper=False)
        return (centred_own - explained.square().sum(dim=0)).clamp(min=0)

    def leave_one_out_variances(self) -> Tensor:
        """`variances` of each training example by the regression on all others, ``(N,)``.

        With the kernel's centre kept: ``1 / [(K + ridge I)^-1]_ii - ridge``.
        """
        return (1 / self.inverse_diagonal - self._ridge).clamp(min=0)

    @property
    def inverse_diagonal(self) -> Tensor:
        """Diagonal of the inverse of the centred kernel plus the ridge, ``(N,)``."""
        if self._inverse_diagonal is None:
            self._inverse_diagonal = torch.cholesky_inverse(self._factor).diagonal().clone()
        return self._inverse_diagonal

    def _centred(self, rows: Tensor) -> Tensor:
        """Inner products of features from which the training examples' mean has been taken."""
        return rows - self._row_means - rows.mean(dim=1, keepdim=True) + self._mean
