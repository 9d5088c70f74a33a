from functools import cache

import numpy as np
import pytest
import torch
from scipy import stats

from ggl_lightning.metrics import MissingError, PairedRateDifference

pytestmark = pytest.mark.filterwarnings("error")

SHARES = np.linspace(0.02, 1, 25)  # of images on which the two differ
WAYS = np.linspace(0, 1, 21)  # of these, on which only a succeeds


def difference(a_only, b_only, images):
    """Of so many images on which only one of the two succeeds; under both, on one of the rest."""
    a, b = torch.zeros(2, images)
    a[:a_only] = 1
    b[a_only : a_only + b_only] = 1
    if a_only + b_only < images:
        a[-1] = b[-1] = 1
    metric = PairedRateDifference()
    metric.update(torch.arange(images), a=a, b=b)
    return {name: value.item() for name, value in metric.compute().items()}


def held(images, a_only, b_only):
    """How often the interval holds the truth, in closed form: over all that can come out."""
    counts = [(a, b) for a in range(images + 1) for b in range(images + 1 - a)]
    probabilities = [a_only, b_only, 1 - a_only - b_only]
    samples = [[a, b, images - a - b] for a, b in counts]
    chances = stats.multinomial.pmf(samples, images, probabilities)
    found = 0.0
    for (a, b), chance in zip(counts, chances, strict=True):
        low, high = interval(a, b, images)
        found += chance * (low - 1e-12 <= a_only - b_only <= high + 1e-12)
    return found


@cache
def interval(a_only, b_only, images):
    counts = [b_only, images - a_only - b_only, a_only]
    return PairedRateDifference()._interval(np.repeat([-1.0, 0.0, 1.0], counts))


@pytest.mark.parametrize(("images", "mean"), [(7, 0.979), (10, 0.974), (20, 0.966)])
def test_it_holds_the_truth_as_often_as_is_said(images, mean):
    truths = [(share * way, share * (1 - way)) for share in SHARES for way in WAYS]
    shares = [held(images, *truth) for truth in truths]
    assert min(shares) > 0.87
    assert np.mean(shares) == pytest.approx(mean, abs=0.005)


def test_it_is_the_published_interval():
    """By hand: 20 images, a alone on 8, b alone on 2: 9/22 and 3/22."""
    a, b = 9 / 22, 3 / 22
    reach = 1.959964 * ((a + b - (a - b) ** 2) / 22) ** 0.5
    found = difference(8, 2, 20)
    assert (found["low"], found["high"]) == pytest.approx((a - b - reach, a - b + reach))


@pytest.mark.parametrize(("a_only", "b_only"), [(0, 0), (3, 1), (6, 0), (2, 7), (5, 5)])
def test_its_p_value_is_mcnemars_and_its_mean_the_difference_of_the_rates(a_only, b_only):
    found = difference(a_only, b_only, 12)
    exact = stats.binomtest(a_only, a_only + b_only).pvalue if a_only + b_only else 1.0
    assert found["p_value"] == pytest.approx(exact)
    assert found["mean"] == pytest.approx((a_only - b_only) / 12)
    assert found["low"] <= found["mean"] <= found["high"]
    assert found["count"] == 12


def test_agreement_on_a_few_images_does_not_prove_equal_rates():
    few, many = difference(0, 0, 10), difference(0, 0, 1000)
    assert few["high"] == -few["low"] > 0.2 > 0.005 > many["high"] > 0


def test_it_stays_within_what_differences_can_be():
    found = difference(6, 0, 6)
    assert 0 < found["low"] < found["high"] == 1


def test_turned_around_it_is_the_same_with_the_other_sign():
    forth, back = difference(7, 2, 20), difference(2, 7, 20)
    assert (back["low"], back["high"]) == pytest.approx((-forth["high"], -forth["low"]))


def test_shares_of_tries_count_as_much_as_the_successes_they_sum_to():
    metric = PairedRateDifference()
    # Images 0 to 3 with two tries each under a, of which one succeeds: 1/2 each, 2 in all.
    metric.update(torch.arange(4).repeat(2), a=torch.tensor([1.0] * 4 + [0.0] * 4))
    metric.update(torch.arange(4, 10), a=torch.zeros(6))
    metric.update(torch.arange(10), b=torch.zeros(10))
    found, whole = metric.compute(), difference(2, 0, 10)
    assert (found["mean"].item(), found["count"].item()) == pytest.approx((0.2, 10))
    assert found["low"].item() == pytest.approx(whole["low"])
    assert found["high"].item() == pytest.approx(whole["high"])


def test_one_image_has_no_interval_and_none_nothing():
    metric = PairedRateDifference()
    metric.update(torch.tensor([0]), a=torch.tensor([1.0]), b=torch.tensor([0.0]))
    assert {name: value.item() for name, value in metric.compute().items()} == {
        "mean": 1,
        "count": 1,
    }
    assert metric.missing.keys() == {"interval", "p_value"}
    metric.reset()
    metric.update(torch.tensor([0]), a=torch.tensor([1.0]))
    with pytest.raises(MissingError, match="no image has both"):
        metric.compute()
