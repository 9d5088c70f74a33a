import pytest
import torch

from ggl_lightning.attacks.learned.ridge import KernelRidge, centred, left_out_residuals
from ggl_lightning.attacks.learned.weights import choose_weights, error_and_slopes


def features(count, dimension, seed):
    found = torch.randn(
        count, dimension, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return found / found.norm(dim=1, keepdim=True)


def test_the_error_is_that_of_leaving_each_one_out():
    x = features(12, 5, 0)
    kernel = 30 * x @ x.T
    targets = features(12, 3, 1)
    errors = []
    for i in range(12):
        rest = [j for j in range(12) if j != i]
        ridge = KernelRidge(kernel[rest][:, rest], targets[rest], 1.0)
        errors.append(ridge.predict(kernel[i : i + 1, rest])[0] - targets[i])
    expected = torch.stack(errors).square().sum() / 12
    found, _ = error_and_slopes(
        centred(x @ x.T)[None], torch.tensor([30.0]).double(), targets, torch.zeros(1).double()
    )
    assert found == pytest.approx(float(expected))


@pytest.mark.parametrize("twins", [1, 2])
@pytest.mark.parametrize("noise", [[0.0, 0.0], [0.003, 0.02]])
def test_the_slopes_are_those_of_differences(twins, noise):
    first, second = features(12, 5, 0), features(12, 7, 1)
    kernels = torch.stack([centred(x @ x.T) for x in (first, second)])
    targets, weights = features(12, 3, 2), torch.tensor([30.0, 4.0]).double()

    def error(weights):
        return error_and_slopes(kernels, weights, targets, torch.tensor(noise).double(), twins)

    for place, slope in enumerate(error(weights)[1].tolist()):
        step = torch.zeros(2).double()
        step[place] = 1e-4
        difference = error(weights + step)[0] - error(weights - step)[0]
        assert slope == pytest.approx(difference / 2e-4, rel=1e-6)


def test_pairs_are_left_out_together():
    x, targets = features(12, 5, 0), features(12, 3, 1)
    kernel = 30 * x @ x.T
    errors = []
    for i in range(12):
        rest = [j for j in range(12) if j // 2 != i // 2]
        ridge = KernelRidge(kernel[rest][:, rest], targets[rest], 0.7)
        errors.append(targets[i] - ridge.predict(kernel[i : i + 1, rest])[0])
    whole = KernelRidge(kernel, targets, 0.7, twins=2)
    torch.testing.assert_close(targets - whole.leave_one_out(), torch.stack(errors))
    inverse = torch.linalg.inv(centred(kernel) + 0.7 * torch.eye(12))
    found = left_out_residuals(inverse, inverse @ (targets - targets.mean(0)), 0.7, 2)
    torch.testing.assert_close(found, torch.stack(errors))


def test_the_error_counts_what_noise_in_the_features_adds():
    """Against drawing it: an example's features with noise of one variance, many times."""
    x, targets = features(30, 40, 0), features(30, 3, 1)
    weight, noise = 20.0, 0.004
    kernel = weight * x @ x.T
    ridge = KernelRidge(kernel, targets, 1.0)
    generator = torch.Generator().manual_seed(2)
    changes = noise**0.5 * torch.randn(4000, 40, generator=generator, dtype=torch.float64)
    moved = ridge.predict(weight * (x[:1] + changes) @ x.T) - ridge.predict(kernel[:1])
    drawn = moved.square().sum() / 4000
    arguments = centred(x @ x.T)[None], torch.tensor([weight]).double(), targets
    with_noise, _ = error_and_slopes(*arguments, torch.tensor([noise]).double())
    without, _ = error_and_slopes(*arguments, torch.zeros(1).double())
    assert with_noise - without == pytest.approx(float(drawn), rel=0.1)


def test_noise_moves_the_weight_to_the_tensor_that_stands_out_of_it():
    telling = features(80, 6, 2)
    targets = telling @ torch.randn(6, 4, generator=torch.Generator().manual_seed(4)).double()
    kernels = torch.stack([telling @ telling.T] * 2)
    quiet = choose_weights(kernels, targets).weights
    noisy = choose_weights(kernels, targets, torch.tensor([1.0, 1e-4])).weights
    assert noisy[1] > 50 * noisy[0]
    assert noisy.sum() < quiet.sum()


def test_the_tensor_that_tells_of_the_targets_gets_the_weight():
    telling, useless = features(80, 6, 2), features(80, 6, 3)
    targets = telling @ torch.randn(6, 4, generator=torch.Generator().manual_seed(4)).double()
    kernels = torch.stack([telling @ telling.T, useless @ useless.T])
    weights = choose_weights(kernels, targets).weights
    assert weights[0] > 100 * weights[1]


def test_targets_that_nothing_tells_of_get_hardly_any_weight():
    useless = features(80, 60, 5)
    kernel = useless @ useless.T
    targets = torch.randn(80, 4, generator=torch.Generator().manual_seed(6)).double()
    found = choose_weights(kernel[None], targets)
    mean_image = (targets - targets.mean(0)).square().sum() / 80 * (80 / 79) ** 2
    assert found.error <= 1.02 * mean_image
    assert found.weights[0] < 5
