import math

import numpy as np
import pytest
import torch

from ggl_lightning.defenses import Compression
from ggl_lightning.errors import UserError
from tests.defenses.updates import AWKWARD, adapted, defend, doubles, equal


def _reference(values, percentage):
    values = np.asarray(values, dtype=np.float64)
    magnitudes = np.abs(values)
    return np.where(magnitudes < np.percentile(magnitudes, percentage), 0.0, values)


@pytest.mark.parametrize("percentage", [0, 20, 25, 50, 62.5, 90, 100])
@pytest.mark.parametrize("values", AWKWARD, ids=str)
def test_awkward_tensors_are_pruned_as_numpys_percentile_says(values, percentage):
    (pruned,) = defend(Compression(percentage), doubles(values))
    assert np.array_equal(pruned.numpy(), _reference(values, percentage))


@pytest.mark.parametrize("percentage", [0.5, 20, 90, 99.9])
@pytest.mark.parametrize("shape", [(50_000,), (16, 3, 3, 3), (7, 11)])
def test_random_tensors_are_pruned_as_numpys_percentile_says(shape, percentage):
    values = np.random.default_rng(0).standard_normal(shape)
    (pruned,) = defend(Compression(percentage), doubles(values))
    assert np.array_equal(pruned.numpy(), _reference(values, percentage))


def test_tensors_are_pruned_one_by_one_at_20_percent_by_default():
    update = doubles(np.arange(1.0, 12.0), 1000 * np.arange(1.0, 12.0))
    for tensor in defend(Compression(), update):
        assert tensor.count_nonzero() == 9
        assert tensor[:2].tolist() == [0, 0]


def test_at_the_edges_nothing_or_all_but_the_largest_goes():
    update = doubles([3.0, -5.0, 1.0], [2.0], [-1.0, 1.0])
    assert equal(defend(Compression(0), update), update)
    assert equal(defend(Compression(100), update), doubles([0, -5.0, 0], [2.0], [-1.0, 1.0]))


def test_the_attacker_prunes_each_tensor_at_its_own_share_of_zeros():
    received = doubles([0.0, 0.0, 7.0, 8.0], [1.0, 0.0, 3.0, 4.0])
    adaptation = Compression().adapt(received, None)
    assert adaptation.estimate == {"percentage": pytest.approx(37.5)}
    pruned = adaptation(doubles([1.0, -2.0, 3.0, -4.0], [1.0, -2.0, 3.0, -4.0]))
    assert equal(pruned, doubles([0, 0, 3.0, -4.0], [0, -2.0, 3.0, -4.0]))


def test_a_received_tensor_of_zeros_leaves_a_candidate_its_largest_entry():
    pruned = adapted(Compression(), doubles([0.0, 0.0, 0.0]), doubles([1.0, -3.0, 2.0]))
    assert pruned[0].tolist() == [0, -3, 0]


@pytest.mark.parametrize("percentage", [5, 20, 90, 99])
def test_the_estimate_is_near_the_true_percentage(percentage):
    update = [torch.randn(300, 40, generator=torch.Generator().manual_seed(0))]
    estimate = Compression().adapt(defend(Compression(percentage), update), None).estimate
    assert estimate["percentage"] == pytest.approx(percentage, abs=0.01)


def test_gradient_flows_through_the_kept_entries_alone():
    update = torch.tensor([1.0, -2.0, 3.0, -4.0], requires_grad=True)
    adaptation = Compression().adapt(doubles([0.0, 0.0, 7.0, 8.0]), None)
    (pruned,) = adaptation([update])
    (gradient,) = torch.autograd.grad((pruned * torch.tensor([5.0, 6.0, 7.0, 8.0])).sum(), update)
    assert gradient.tolist() == [0, 0, 7, 8]


@pytest.mark.parametrize("percentage", [-1, 100.5, math.nan])
def test_impossible_percentage_is_refused(percentage):
    with pytest.raises(UserError, match=f"percentage .* is {percentage}.*between 0 and 100"):
        Compression(percentage)
