"""Kernel ridge regression beside ridge regression in the features, and beside fitting anew."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from ggl_lightning.attacks.learned.ridge import KernelRidge


def problem(seed, count=12, features=7, outputs=3):
    generator = torch.Generator().manual_seed(seed)
    phi = torch.randn(count, features, generator=generator, dtype=torch.float64) + 1
    return phi, torch.randn(count, outputs, generator=generator, dtype=torch.float64)


def primal(phi, targets, ridge, new):
    """Ridge regression with an intercept that is not penalised, in the features themselves."""
    centre, mean = phi.mean(dim=0), targets.mean(dim=0)
    a = phi - centre
    penalised = a.T @ a + ridge * torch.eye(phi.shape[1], dtype=phi.dtype)
    return mean + (new - centre) @ torch.linalg.solve(penalised, a.T @ (targets - mean))


@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_predictions_are_those_of_the_features(seed, ridge):
    phi, targets = problem(seed)
    new, _ = problem(seed + 1, count=4)

    found = KernelRidge(phi @ phi.T, targets, ridge).predict(new @ phi.T)

    torch.testing.assert_close(found, primal(phi, targets, ridge, new))


@given(st.integers(0, 10**6), st.floats(1e-2, 1e3))
def test_leave_one_out_is_what_fitting_without_each_example_predicts(seed, ridge):
    phi, targets = problem(seed)
    expected = []
    for left_out in range(len(phi)):
        rest = torch.arange(len(phi)) != left_out
        expected.append(primal(phi[rest], targets[rest], ridge, phi[left_out]))

    found = KernelRidge(phi @ phi.T, targets, ridge).leave_one_out()

    torch.testing.assert_close(found, torch.stack(expected))


def test_variance_vanishes_on_training_examples_and_is_whole_away_from_them():
    phi = torch.eye(6, dtype=torch.float64)
    model = KernelRidge(phi @ phi.T, torch.zeros(6, 1), ridge=1e-9)
    away = torch.zeros(1, 6, dtype=torch.float64)

    assert model.variances(phi @ phi.T, torch.ones(6)).max() < 1e-6
    # An example of norm 3 that is orthogonal to all others: 3^2 plus the centre's part, 1/6.
    assert model.variances(away, torch.tensor([9.0]))[0] == pytest.approx(9 + 1 / 6, abs=1e-6)


@given(st.integers(0, 10**6), st.floats(1e-2, 1e3), st.sampled_from([1, 2, 3]))
def test_leave_one_out_variance_is_that_of_fitting_without_the_group(seed, ridge, twins):
    phi, targets = problem(seed)
    kernel = phi @ phi.T
    found = KernelRidge(kernel, targets, ridge, twins).leave_one_out_variances()

    for left_out in range(len(phi)):
        rest = torch.arange(len(phi)) // twins != left_out // twins
        others = KernelRidge(kernel[rest][:, rest], targets[rest], ridge)
        row, own = kernel[left_out, rest], kernel[left_out, left_out]
        expected = others.variances(row.unsqueeze(0), own.unsqueeze(0))
        torch.testing.assert_close(found[left_out : left_out + 1], expected, rtol=1e-6, atol=1e-8)
