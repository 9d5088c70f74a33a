"""Means against SciPy called directly, and how often the interval holds the true mean."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ggl_lightning.metrics import BootstrapMean, MissingError
from ggl_lightning.metrics.resampling import LARGE, resamples

pytestmark = pytest.mark.filterwarnings("error")

FINITE = st.floats(-1e6, 1e6, allow_nan=False)


def mean_of(*batches) -> tuple[dict[str, float], dict[str, str]]:
    metric = BootstrapMean()
    for values in batches:
        metric.update(torch.as_tensor(values, dtype=torch.float64))
    return {name: value.item() for name, value in metric.compute().items()}, metric.missing


def test_is_scipys_bca_interval_of_the_sorted_values():
    values = np.random.default_rng(3).exponential(size=25)
    found, missing = mean_of(values[:10], values[10:])
    expected = stats.bootstrap(
        (np.sort(values),), np.mean, method="BCa", rng=np.random.default_rng(0)
    ).confidence_interval
    assert found["mean"] == pytest.approx(values.mean(), rel=1e-12)
    assert (found["low"], found["high"]) == pytest.approx(tuple(expected), rel=1e-9)
    assert (found["count"], missing) == (25, {})


def test_very_many_images_take_the_percentile_method():
    values = np.sort(np.random.default_rng(3).exponential(size=LARGE + 1))
    found, _ = mean_of(values)
    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=2000, rng=np.random.default_rng(5)
    )
    # Other resamples: the ends agree up to the resampling's noise.
    for end in ("low", "high"):
        expected_end = getattr(expected.confidence_interval, end)
        assert found[end] == pytest.approx(expected_end, abs=0.3 * expected.standard_error)
    assert resamples(10**9) == 999


def test_one_image_has_no_interval_and_says_so():
    assert mean_of([2.5]) == (
        {"mean": 2.5, "count": 1},
        {"interval": "one image has no spread to resample"},
    )


@given(FINITE, st.integers(2, 8))
def test_equal_values_have_an_interval_of_no_width(value, count):
    found, missing = mean_of([value] * count)
    assert missing == {}
    assert found["low"] == found["high"] == pytest.approx(value, rel=1e-12)


@given(st.lists(FINITE, min_size=2, max_size=8), st.randoms())
def test_any_values_give_finite_numbers_in_any_order(values, random):
    found, missing = mean_of(values)
    assert all(np.isfinite(number) for number in found.values())
    assert "interval" in missing or min(values) - 1e-6 <= found["low"] <= found["high"]
    shuffled = random.sample(values, len(values))
    assert mean_of(shuffled[:1], shuffled[1:]) == (found, missing)


def test_nothing_is_missing_and_no_number_is_an_error():
    metric = BootstrapMean()
    metric.update(torch.empty(0))
    with pytest.raises(MissingError, match="no image"):
        metric.compute()
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not finite"):
            metric.update(torch.tensor([1.0, bad]))
    with pytest.raises(ValueError, match="expected equal"):
        metric.update(torch.ones(2, 2))


def test_reset_forgets_and_compute_does_not():
    metric = BootstrapMean()
    metric.update(torch.tensor([1.0, 2.0]))
    assert metric.compute()["mean"] == 1.5
    metric.update(torch.tensor([6.0]))
    assert metric.compute()["mean"] == 3
    metric.reset()
    metric.update(torch.tensor([4.0, 4.0]))
    assert metric.compute()["mean"] == 4


def test_about_95_percent_of_intervals_hold_the_true_mean():
    generator = np.random.default_rng(11)
    held = 0
    for _ in range(250):
        found, _ = mean_of(generator.gamma(4, size=30))
        held += found["low"] <= 4 <= found["high"]
    # 250 draws of a rate of 0.93 (N = 30 is not infinity) stay within 3 standard deviations.
    assert 0.88 <= held / 250 <= 0.98
