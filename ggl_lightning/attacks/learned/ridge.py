"""Kernel ridge regression in closed form, with its leave-one-out predictions."""

from __future__ import annotations

import torch
from torch import Tensor


def centred(kernel: Tensor) -> Tensor:
    """A kernel ``(N, N)`` of features from which the examples' mean has been taken."""
    means = kernel.mean(dim=0)
    return kernel - means - means.unsqueeze(1) + means.mean()


def left_out_residuals(
    inverse: Tensor, coefficients: Tensor, ridge: float, twins: int = 1
) -> Tensor:
    """What each example is off by in the regression on all others, without fitting anew.

    The residuals of a group that is left out together are ``[(I - S)_gg]^-1 (x - S x)_g`` with the
    hat matrix ``S`` (the PRESS statistic, Allen 1974, for single examples).

    Args:
        inverse: Of the centred kernel plus the ridge, ``(N, N)``.
        coefficients: ``a``, ``(N, D)``, which are the residuals over the ridge.
        ridge: The penalty's weight.
        twins: Successive examples that are left out together, such as an image and its mirror
            image; divides ``N``.

    Returns:
        ``(N, D)``, differentiable.
    """
    count = len(inverse)
    residuals = ridge * coefficients
    if twins == 1:
        return residuals / (ridge * inverse.diagonal() - 1 / count).unsqueeze(1)
    own = ridge * group_blocks(inverse, twins) - 1 / count
    groups = (count // twins, twins)
    return torch.linalg.solve(own, residuals.unflatten(0, groups)).flatten(0, 1)


def group_blocks(matrix: Tensor, size: int) -> Tensor:
    """The blocks on the diagonal, of successive groups: ``(N / size, size, size)``."""
    groups = (len(matrix) // size, size)
    blocks = matrix.unflatten(0, groups).unflatten(2, groups)
    return blocks.diagonal(dim1=0, dim2=2).movedim(-1, 0)


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
        twins: See `left_out_residuals`.

    Attributes:
        coefficients: ``a`` in terms of the centred kernel, ``(N, D)``.
    """

    def __init__(self, kernel: Tensor, targets: Tensor, ridge: float, twins: int = 1) -> None:
        kernel, targets = kernel.double(), targets.double()
        self._row_means = kernel.mean(dim=0)
        self._mean = self._row_means.mean()
        self._target_mean = targets.mean(dim=0)
        middle = self._centred(kernel)
        middle.diagonal().add_(ridge)
        self._factor: Tensor | None = torch.linalg.cholesky(middle)
        self._ridge = ridge
        self._twins = twins
        self._targets = targets
        self.coefficients = torch.cholesky_solve(targets - self._target_mean, self._factor)
        self._inverse: Tensor | None = None

    def predict(self, rows: Tensor) -> Tensor:
        """Predicts targets.

        Args:
            rows: Inner products of ``M`` examples with the training examples, ``(M, N)``.

        Returns:
            ``(M, D)``, float64.
        """
        return self._target_mean + self._centred(rows.double()) @ self.coefficients

    def slope(self, rows: Tensor) -> Tensor:
        """How much a prediction changes when something is added to an example's features.

        Args:
            rows: Inner products of what is added with the training examples, ``(N,)``.

        Returns:
            ``(D,)``, float64.
        """
        rows = rows.double()
        return (rows - rows.mean()) @ self.coefficients

    def leave_one_out(self) -> Tensor:
        """What each training example is predicted to be by the regression on all others.

        Returns:
            ``(N, D)``, float64.
        """
        return self._targets - left_out_residuals(
            self.inverse, self.coefficients, self._ridge, self._twins
        )

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
        middle = self._centred(rows)
        middle_own = own - 2 * rows.mean(dim=1) + self._mean
        assert self._factor is not None
        explained = torch.linalg.solve_triangular(self._factor, middle.mT, upper=False)
        return (middle_own - explained.square().sum(dim=0)).clamp(min=0)

    def leave_one_out_variances(self) -> Tensor:
        """`variances` of each training example by the regression on all others, ``(N,)``.

        As `left_out_residuals` leaves out: with all of an example's group, and the centre of the
        rest. With ``H`` a group's block of the hat matrix and ``C = I - 1/N`` they are the diagonal
        of ``ridge (C - H)^-1 H C^-1``, which follows from the scatter matrices with and without the
        group by Woodbury's identity. That the centre moves matters where the ridge is small: in
        features centred with it, an example is minus the sum of all others.
        """
        count = len(self._targets)
        own = self._ridge * group_blocks(self.inverse, self._twins)
        unit = torch.eye(self._twins, dtype=own.dtype, device=own.device)
        centre = unit - 1 / count
        left = torch.linalg.solve(own - 1 / count, (unit - own) @ torch.linalg.inv(centre))
        return self._ridge * left.diagonal(dim1=1, dim2=2).flatten().clamp(min=0)

    @property
    def inverse(self) -> Tensor:
        """Of the centred kernel plus the ridge, ``(N, N)``."""
        if self._inverse is None:
            assert self._factor is not None
            self._inverse = torch.cholesky_inverse(self._factor)
        return self._inverse

    def forget_inverse(self, factor: bool = False) -> None:
        """Gives back the memory of what only leave-one-out figures need.

        Args:
            factor: Whether that of the factor, too, which `variances` need: what is left predicts.
        """
        self._inverse = None
        if factor:
            self._factor = None

    def _centred(self, rows: Tensor) -> Tensor:
        """Inner products of features from which the training examples' mean has been taken."""
        return rows - self._row_means - rows.mean(dim=1, keepdim=True) + self._mean
