from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ggl_lightning.defenses import percentile
from ggl_lightning.defenses.percentile import at_or_above_rank, percentile_rank


def _kept_by_interpolation(values, percentage):
    """Entries not below the interpolated percentile, in exact arithmetic."""
    ordered = sorted(Fraction(value) for value in values)
    position = Fraction(percentage) / 100 * (len(ordered) - 1)
    lower = position.__floor__()
    upper = min(lower + 1, len(ordered) - 1)
    threshold = ordered[lower] + (position - lower) * (ordered[upper] - ordered[lower])
    return [Fraction(value) >= threshold for value in values]


@given(
    st.lists(st.sampled_from([0.0, 0.25, 1.0]) | st.floats(0, 8, width=32), min_size=1),
    st.integers(0, 100) | st.sampled_from([12.5, 99.5]),
)
def test_the_rank_rule_is_the_interpolated_percentile(values, percentage):
    kept = at_or_above_rank(torch.tensor(values), percentile_rank(percentage, len(values)))
    assert kept.tolist() == _kept_by_interpolation(values, percentage)


@pytest.mark.parametrize("count", [1, 2, 7, 101, 11**6])
def test_rank_reaches_from_the_first_to_the_last_entry(count):
    assert percentile_rank(0, count) == 0
    assert percentile_rank(100, count) == count - 1


def test_rank_is_not_moved_by_rounding():
    # 7 / 100 * 100 is 7.000000000000001 in floating point, whose ceiling would be 8.
    assert percentile_rank(7, 101) == 7


LARGE = {
    "normal": np.random.default_rng(0).standard_normal(50_000).__abs__(),
    "mostly zeros": np.random.default_rng(1).random(50_000)
    * (np.random.default_rng(2).random(50_000) > 0.8),
    "few values": np.random.default_rng(3).integers(0, 3, 50_000).astype(float),
    "constant": np.full(50_000, 0.25),
    "sorted, heavy tail": np.geomspace(1e-12, 1e6, 50_000),
}


@pytest.mark.parametrize("values", LARGE.values(), ids=LARGE)
@pytest.mark.parametrize("rank", [1, 40, 2_500, 24_999, 40_001, 49_960, 49_999])
def test_ranks_of_large_tensors_are_exact(values, rank):
    kept = at_or_above_rank(torch.from_numpy(values).reshape(500, 100), rank)
    expected = values >= np.sort(values)[rank]
    assert np.array_equal(kept.numpy().ravel(), expected)


def test_a_sample_that_misses_the_entry_does_not_change_the_result(monkeypatch):
    values = torch.linspace(0, 0.5, 50_000, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    values[torch.randint(len(values), (percentile._SAMPLE,), generator=generator)] = 1.0
    expected = values >= values.sort().values[25_000]
    assert torch.equal(at_or_above_rank(values, 25_000), expected)
