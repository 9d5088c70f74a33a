"""The maximum over attacks beside the same maximum of their nulls."""

from itertools import product

import numpy as np
import pytest
import torch

from ggl_lightning.metrics import MaxLeakage, MissingError


def numbers(seed, images, attacks, kinds=1, leak=0.0, shared=0.0):
    """Results of attacks and their nulls that are alike, but for a leak."""
    rng = np.random.default_rng(seed)
    of_image = shared * rng.standard_normal((images, 1, 1)) * 3
    # What attacks have in common on one update, as they do when they see the same noise.
    common = shared * rng.standard_normal((images, 1 + kinds, 1))
    own = rng.standard_normal((images, 1 + kinds, attacks))
    table = torch.tensor(of_image + common + own)
    return table[:, 0] + leak, table[:, 1:]


def computed(attack, null, bound=None, higher=True):
    statistic = MaxLeakage(higher, attack.shape[1], null.shape[1], bound is not None)
    statistic.update(attack, null, bound)
    return {name: value.item() for name, value in statistic.compute().items()}


def test_the_numbers_are_those_of_the_columns():
    attack, null = numbers(0, 30, 3, kinds=2, leak=0.5)
    bound = attack.amax(dim=1) + 1
    found = computed(attack, null, bound)
    means, of_nulls = attack.mean(dim=0), null.mean(dim=0).amax(dim=1)
    assert found["value"] == pytest.approx(float(means.max()))
    assert found["best"] == int(means.argmax())
    assert found["null"] == pytest.approx(float(of_nulls.max()))
    assert found["null_kind"] == int(of_nulls.argmax())
    excess = float(means.max() - of_nulls.max())
    assert found["excess"] == pytest.approx(excess)
    possible = float(bound.mean() - of_nulls.max())
    assert found["leakage"] == pytest.approx(excess / possible)
    assert found["low"] < found["value"] < found["high"]
    assert found["count"] == 30


def test_the_p_value_is_the_share_of_all_exchanges():
    attack, null = numbers(1, 7, 2, kinds=2, leak=0.4)
    found = computed(attack, null)
    expected = []
    for kind in range(2):
        observed = (attack.mean(0).max() - null[:, kind].mean(0).max()).item()
        as_large = 0
        for exchange in product([False, True], repeat=7):
            where = torch.tensor(exchange)[:, None]
            ours = torch.where(where, null[:, kind], attack)
            theirs = torch.where(where, attack, null[:, kind])
            as_large += (ours.mean(0).max() - theirs.mean(0).max()).item() >= observed - 1e-12
        expected.append(as_large / 2**7)
    assert found["p_value"] == pytest.approx(max(expected))


def test_lower_may_be_better_for_the_attacker():
    attack, null = numbers(2, 12, 3, leak=0.3)
    bound = attack.amax(dim=1)
    up, down = computed(attack, null, bound), computed(-attack, -null, -bound, higher=False)
    assert down["value"] == -up["value"]
    assert (down["low"], down["high"]) == pytest.approx((-up["high"], -up["low"]))
    for name in ("excess", "excess_low", "p_value", "leakage", "best"):
        assert down[name] == pytest.approx(up[name])


def test_the_order_of_images_does_not_matter():
    attack, null = numbers(3, 20, 2)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    assert computed(attack, null) == computed(attack[order], null[order])


@pytest.mark.parametrize("attacks", [1, 3, 6])
@pytest.mark.parametrize("images", [6, 12])
@pytest.mark.parametrize("shared", [0.0, 2.0])
def test_without_a_leak_chance_is_taken_for_one_as_often_as_said(attacks, images, shared):
    audits, level = 150, 0.05
    false = sum(
        computed(*numbers(seed, images, attacks, shared=shared))["p_value"] <= level
        for seed in range(audits)
    )
    # Three standard deviations above 5% of 150.
    assert false <= 15


def test_the_best_of_several_attacks_is_not_held_against_one_null():
    """A comparison of the best attack with its own null alone would be wrong far more often."""
    audits, naive, ours = 150, 0, 0
    for seed in range(audits):
        attack, null = numbers(seed, 12, 6)
        best = int(attack.mean(dim=0).argmax())
        naive += computed(attack[:, [best]], null[:, :, [best]])["p_value"] <= 0.05
        ours += computed(attack, null)["p_value"] <= 0.05
    assert naive > 2 * 0.05 * audits
    assert ours <= 15


def test_a_leak_is_found():
    found = [computed(*numbers(seed, 20, 4, leak=1.5, shared=1.0)) for seed in range(20)]
    assert sum(each["p_value"] <= 0.05 for each in found) >= 18
    assert sum(each["excess_low"] > 0 for each in found) >= 16


def test_what_cannot_be_said():
    with pytest.raises(MissingError, match="no image"):
        MaxLeakage(True, 2, 1).compute()
    statistic = MaxLeakage(True, 1, 1)
    statistic.update(torch.tensor([[1.0]]), torch.tensor([[[0.5]]]), torch.tensor([0.4]))
    found = statistic.compute()
    assert "leakage" not in found
    assert statistic.missing["leakage"].startswith("the bound does not beat the null")
    assert "low" not in found
    with pytest.raises(ValueError, match="expected"):
        MaxLeakage(True, 2, 1).update(torch.zeros(3, 2), torch.zeros(3, 2, 2), torch.zeros(3))
