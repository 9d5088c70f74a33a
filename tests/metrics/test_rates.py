"""Rates against the beta distribution and the binomial's own probabilities."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ggl_lightning.errors import UserError
from ggl_lightning.metrics import BinomialRate, IdentificationRate, MissingError

pytestmark = pytest.mark.filterwarnings("error")


def rate(successes, trials=None) -> dict[str, float]:
    metric = BinomialRate()
    given_trials = None if trials is None else torch.tensor(trials)
    metric.update(torch.tensor(successes, dtype=torch.float64), given_trials)
    return {name: value.item() for name, value in metric.compute().items()}


def clopper_pearson(successes: int, trials: int) -> tuple[float, float]:
    """Clopper and Pearson 1934, as quantiles of beta distributions."""
    low = stats.beta.ppf(0.025, successes, trials - successes + 1) if successes else 0.0
    beta_high = stats.beta.ppf(0.975, successes + 1, trials - successes)
    return low, beta_high if successes < trials else 1.0


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_is_the_interval_of_clopper_and_pearson(case):
    successes, trials = case
    found = rate([1.0] * successes + [0.0] * (trials - successes))
    low, high = clopper_pearson(successes, trials)
    assert found["rate"] == pytest.approx(successes / trials)
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=1e-9)
    assert found["count"] == trials
    assert rate([float(successes)], [trials]) == found


def test_holds_the_true_rate_at_least_95_percent_of_the_time():
    trials = 20
    intervals = [rate([float(k)], [trials]) for k in range(trials + 1)]
    for true in (0.01, 0.1, 0.35, 0.5, 0.9):
        held = [found["low"] <= true <= found["high"] for found in intervals]
        assert np.dot(stats.binom.pmf(range(trials + 1), trials, true), held) >= 0.95


def test_shares_round_outwards():
    found = rate([1.0, 0.5, 0.0, 0.75])
    assert found["rate"] == 0.5625
    assert found["low"] == pytest.approx(clopper_pearson(2, 4)[0])
    assert found["high"] == pytest.approx(clopper_pearson(3, 4)[1])
    thirds = rate([1 / 3] * 6)  # sums to a whole number up to rounding
    assert (thirds["low"], thirds["high"]) == pytest.approx(clopper_pearson(2, 6))


def test_nothing_is_missing_and_more_than_everything_an_error():
    with pytest.raises(MissingError, match="no image"):
        rate([])
    for bad in ([1.5], [-0.5], [float("nan")]):
        with pytest.raises(ValueError, match="expected 0 to all"):
            rate(bad)


def identification(k, *updates) -> dict[str, float]:
    metric = IdentificationRate(k)
    for ranks, decoys in updates:
        metric.update(torch.tensor(ranks), decoys)
    return {name: value.item() for name, value in metric.compute().items()}


def test_identification_counts_ranks_up_to_k_and_knows_chance():
    ranks = [1, 7, 2, 1, 5, 6, 100, 1]
    for k, hits in ((1, 3), (5, 5)):
        found = identification(k, (ranks[:3], 99), (ranks[3:], 99))
        assert found["rate"] == pytest.approx(hits / 8)
        assert (found["low"], found["high"]) == pytest.approx(clopper_pearson(hits, 8))
        assert found["chance"] == pytest.approx(k / 100)
    assert identification(5, ([1, 3], 2))["chance"] == 1
    mixed = identification(1, ([1], 9), ([2], torch.tensor([99])))
    assert mixed["chance"] == pytest.approx((0.1 + 0.01) / 2)


def test_an_image_with_several_seeds_is_one_trial():
    found = identification(1, ([[1, 1, 2, 1], [1, 1, 1, 1]], 9))
    assert (found["rate"], found["count"]) == (0.875, 2)
    assert found["low"] == pytest.approx(clopper_pearson(1, 2)[0])
    assert found["high"] == 1


def test_ranks_and_k_are_checked():
    for bad in ([0], [11]):
        with pytest.raises(ValueError, match="expected 1 to"):
            identification(1, (bad, 9))
    with pytest.raises(UserError, match="k is 0"):
        IdentificationRate(0)
