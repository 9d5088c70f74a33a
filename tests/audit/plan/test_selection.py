"""Which private images a configuration selects."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ggl_lightning.audit.plan.selection import ClassBalancedImages, RandomImages, select
from ggl_lightning.errors import UserError

LABELS = torch.tensor([0, 1, 2, 0, 1, 0, 0, 2, 1, 0])


def _select(wanted):
    return select(wanted, len(LABELS), lambda: LABELS, "test")


@pytest.mark.parametrize(
    ("wanted", "indices"),
    [
        (4, [4]),
        ("4", [4]),
        ("2-5", [2, 3, 4, 5]),
        ("0-9:4", [0, 4, 8]),
        ([7, "0-2", "9-9"], [7, 0, 1, 2, 9]),
    ],
)
def test_lists_and_ranges(wanted, indices):
    if wanted == "4":
        with pytest.raises(UserError, match="expected an index, or a range"):
            _select(wanted)
        return
    assert _select(wanted) == indices


@pytest.mark.parametrize("wanted", ["5-2", "1:3", "-1-3", "0-4:0", "a", ["0-3", 3], [], 10, "8-10"])
def test_what_cannot_be_selected_is_named(wanted):
    with pytest.raises(UserError, match="idx"):
        _select(wanted)


@given(st.integers(1, 10), st.integers(0, 1000))
def test_random_images_are_distinct_and_follow_from_their_seed(count, seed):
    chosen = _select(RandomImages(count, seed))
    assert len(set(chosen)) == count
    assert set(chosen) <= set(range(10))
    assert chosen == _select(RandomImages(count, seed))
    assert chosen == _select(RandomImages(10, seed))[:count]  # a longer selection extends it


@given(st.integers(1, 2), st.integers(0, 100))
def test_class_balanced_images_have_every_class_as_often(per_class, seed):
    chosen = _select(ClassBalancedImages(per_class, seed=seed))
    assert LABELS[chosen].bincount().tolist() == [per_class] * 3
    assert LABELS[chosen[:3]].tolist() == [0, 1, 2]  # an early stop is balanced too
    only = _select(ClassBalancedImages(per_class, classes=[2], seed=seed))
    assert set(LABELS[only].tolist()) == {2}


def test_more_than_there_is_is_refused():
    with pytest.raises(UserError, match="RandomImages is 11, but the split has 10"):
        _select(RandomImages(11))
    with pytest.raises(UserError, match="the split has 2 images of class 2"):
        _select(ClassBalancedImages(3))
    with pytest.raises(UserError, match="the split has 0 images of class 7"):
        _select(ClassBalancedImages(1, classes=[7]))
