import torch

from ggl_lightning.attacks.learned.ridge import KernelRidge
from ggl_lightning.attacks.learned.weights import choose_weights, leave_one_out_error


def features(count, dimension, seed):
    found = torch.randn(
        count, dimension, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    return found / found.norm(dim=1, keepdim=True)


def test_the_error_is_that_of_leaving_each_one_out():
    x = features(12, 5, 0)
    kernel = 30 * x @ x.T
    targets = features(12, 3, 1)
    means = kernel.mean(0)
    centred = kernel - means - means[:, None] + means.mean()
    errors = []
    for i in range(12):
        rest = [j for j in range(12) if j != i]
        ridge = KernelRidge(kernel[rest][:, rest], targets[rest], 1.0)
        errors.append(ridge.predict(kernel[i : i + 1, rest])[0] - targets[i])
    expected = torch.stack(errors).square().mean()
    torch.testing.assert_close(leave_one_out_error(centred, targets), expected)


def test_the_tensor_that_tells_of_the_targets_gets_the_weight():
    telling, useless = features(80, 6, 2), features(80, 6, 3)
    targets = telling @ torch.randn(6, 4, generator=torch.Generator().manual_seed(4)).double()
    kernels = torch.stack([telling @ telling.T, useless @ useless.T])
    weights = choose_weights(kernels, targets)
    assert weights[0] > 100 * weights[1]


def test_targets_that_nothing_tells_of_get_hardly_any_weight():
    useless = features(80, 60, 5)
    kernel = useless @ useless.T
    targets = torch.randn(80, 4, generator=torch.Generator().manual_seed(6)).double()
    (weight,) = choose_weights(kernel[None], targets)
    means = kernel.mean(0)
    centred = kernel - means - means[:, None] + means.mean()
    mean_image = leave_one_out_error(torch.zeros_like(centred), targets)
    assert leave_one_out_error(weight * centred, targets) <= 1.02 * mean_image
