import numpy as np
import pytest
import torch
from scipy import stats

from ggl_lightning.metrics import MissingError, PairedDifference

pytestmark = pytest.mark.filterwarnings("error")

A = np.array([3.0, 1.5, 4.0, 2.0, 7.0, 5.5, 1.0])
B = np.array([2.0, 1.0, 4.5, 0.0, 4.0, 5.0, 0.5])


def computed(metric: PairedDifference) -> dict[str, float]:
    return {name: value.item() for name, value in metric.compute().items()}


def test_is_scipys_interval_and_exact_permutation_test():
    metric = PairedDifference()
    metric.update(torch.arange(7), a=torch.tensor(A), b=torch.tensor(B))
    found = computed(metric)
    interval = stats.bootstrap(
        (np.sort(A - B),), np.mean, method="BCa", rng=np.random.default_rng(0)
    ).confidence_interval
    assert found["mean"] == pytest.approx((A - B).mean())
    assert (found["low"], found["high"]) == pytest.approx(tuple(interval), rel=0.01)
    # All 2^7 ways to swap, one by one.
    swaps = [[1 if i >> j & 1 else -1 for j in range(7)] for i in range(2**7)]
    means = np.abs([np.mean((A - B) * signs) for signs in swaps])
    expected = np.mean(means >= abs((A - B).mean()) - 1e-12)
    assert found["p_value"] == pytest.approx(expected)
    assert found["count"] == 7


def test_ids_pair_whatever_the_order_and_images_without_a_partner_do_not_count():
    straight, apart = PairedDifference(), PairedDifference()
    straight.update(torch.arange(7), a=torch.tensor(A), b=torch.tensor(B))
    order = np.random.default_rng(0).permutation(7)
    apart.update(torch.tensor([99]), a=torch.tensor([1e3]))
    apart.update(torch.tensor(order), b=torch.tensor(B[order]))
    apart.update(torch.arange(3), a=torch.tensor(A[:3]))
    apart.update(torch.arange(3, 7), a=torch.tensor(A[3:]))
    assert computed(apart) == computed(straight)


def test_values_under_one_id_are_averaged_first():
    seeds, means = PairedDifference(), PairedDifference()
    seeds.update(torch.tensor([0, 1, 0, 2]), a=torch.tensor([1.0, 5.0, 3.0, 9.0]))
    means.update(torch.tensor([0, 1, 2]), a=torch.tensor([2.0, 5.0, 9.0]))
    for metric in (seeds, means):
        metric.update(torch.tensor([2, 1, 0]), b=torch.tensor([1.0, 2.0, 3.0]))
    assert computed(seeds) == computed(means)
    assert computed(seeds)["count"] == 3


def test_swapping_the_defenses_turns_the_sign():
    forth, back = PairedDifference(), PairedDifference()
    forth.update(torch.arange(7), a=torch.tensor(A), b=torch.tensor(B))
    back.update(torch.arange(7), a=torch.tensor(B), b=torch.tensor(A))
    assert computed(back)["mean"] == -computed(forth)["mean"]
    assert computed(back)["p_value"] == pytest.approx(computed(forth)["p_value"])


def test_equal_values_differ_by_nothing_and_one_image_has_no_p_value():
    metric = PairedDifference()
    metric.update(torch.arange(7), a=torch.tensor(A), b=torch.tensor(A))
    assert computed(metric) == {"mean": 0, "low": 0, "high": 0, "p_value": 1, "count": 7}
    metric.reset()
    metric.update(torch.tensor([4]), a=torch.tensor([1.0]), b=torch.tensor([3.0]))
    assert computed(metric) == {"mean": -2, "count": 1}
    assert metric.missing.keys() == {"interval", "p_value"}
    metric.reset()
    metric.update(torch.tensor([4]), a=torch.tensor([1.0]))
    metric.update(torch.tensor([5]), b=torch.tensor([1.0]))
    with pytest.raises(MissingError, match="no image has both"):
        metric.compute()


def test_p_values_of_equal_treatments_are_below_5_percent_that_often():
    generator = np.random.default_rng(2)
    below = 0
    for _ in range(200):
        metric = PairedDifference()
        a, b = generator.exponential(size=(2, 8))  # exchangeable within images: the null holds
        metric.update(torch.arange(8), a=torch.tensor(a), b=torch.tensor(b))
        below += metric.compute()["p_value"].item() <= 0.05
    assert stats.binomtest(below, 200, 0.05).pvalue > 1e-3
