import numpy as np
import pytest
import torch
from scipy import stats

from ggl_lightning.metrics import MissingError, NormalizedLeakage
from ggl_lightning.metrics.normalized_leakage import BARELY_BEATEN, NOT_BEATEN

pytestmark = pytest.mark.filterwarnings("error")


def leakage(attack, null, bound, higher=True) -> tuple[dict[str, float], dict[str, str]]:
    metric = NormalizedLeakage(higher)
    metric.update(*(torch.as_tensor(v, dtype=torch.float64) for v in (attack, null, bound)))
    return {name: value.item() for name, value in metric.compute().items()}, metric.missing


def triples(count: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    null, gain, share = generator.normal(10, 2, count), generator.gamma(9, 1, count), 0.4
    return np.stack([null + share * gain + generator.normal(0, 0.5, count), null, null + gain])


def ratio(attack, null, bound, axis=-1):
    difference = bound.mean(axis) - null.mean(axis)
    return (attack.mean(axis) - null.mean(axis)) / difference


def test_is_scipys_interval_of_the_ratio_of_means_over_whole_triples():
    values = triples(30)
    found, missing = leakage(*values)
    in_order = values[:, np.lexsort(values)]
    expected = stats.bootstrap(
        tuple(in_order), ratio, paired=True, method="BCa", rng=np.random.default_rng(0)
    ).confidence_interval
    assert found["value"] == pytest.approx(ratio(*values))
    assert (found["low"], found["high"]) == pytest.approx(tuple(expected), rel=1e-9)
    assert (found["count"], missing) == (30, {})


def test_lower_is_better_is_the_same_upside_down_and_order_does_not_matter():
    values = triples(12)
    found = leakage(*values)
    for other in (leakage(*-values, higher=False), leakage(*values[:, ::-1].copy())):
        assert other[0] == pytest.approx(found[0], rel=1e-9)


@pytest.mark.parametrize(("position", "value"), [(1, 0.0), (2, 1.0)])
def test_an_attack_like_the_null_leaks_nothing_and_one_like_the_bound_everything(position, value):
    _, null, bound = triples(6)
    found, missing = leakage([null, null, bound][position], null, bound)
    assert found == pytest.approx({"value": value, "low": value, "high": value, "count": 6})
    assert missing == {}


def test_it_is_not_clipped():
    assert leakage([0.0, 0.0], [1.0, 2.0], [3.0, 3.0])[0]["value"] == pytest.approx(-1)
    assert leakage([5.0, 6.0], [1.0, 2.0], [3.0, 3.0])[0]["value"] == pytest.approx(8 / 3)


def test_one_image_has_a_value_without_an_interval():
    found, missing = leakage([2.0], [1.0], [3.0])
    assert found == {"value": 0.5, "count": 1}
    assert missing == {"interval": "one image has no spread to resample"}


def test_a_bound_that_does_not_beat_the_null_is_no_measure():
    for null, bound in (([1.0, 5.0], [2.0, 3.0]), ([1.0, 2.0], [1.0, 2.0])):
        with pytest.raises(MissingError) as missing:
            leakage([3.0, 3.0], null, bound)
        assert missing.value.reason == NOT_BEATEN
    found, missing = leakage([3.0, 3.0, 2.0], [1.0, 5.0, 1.0], [4.0, 3.0, 7.0])
    assert found == pytest.approx({"value": 1 / 7, "count": 3})
    assert missing == {"interval": BARELY_BEATEN}
    with pytest.raises(MissingError, match="no image"):
        leakage([], [], [])


def test_about_95_percent_of_intervals_hold_the_true_ratio():
    held = 0
    for seed in range(200):
        found, _ = leakage(*triples(25, seed))
        held += found["low"] <= 0.4 <= found["high"]
    assert 0.87 <= held / 200 <= 0.985
