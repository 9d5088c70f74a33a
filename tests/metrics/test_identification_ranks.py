"""Ranks against a plain loop, ties and broken pictures, and the memory they take."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ggl_lightning.metrics import identification_ranks, representation_of, tells_apart
from ggl_lightning.metrics.client_features import client_features
from tests.metrics.conftest import random_images


def loop(reconstructions, private, decoys) -> list[int]:
    ranks = []
    for found, own in zip(reconstructions, private, strict=True):
        distance = ((found - own) ** 2).mean()
        ranks.append(1 + sum(((found - decoy) ** 2).mean() <= distance for decoy in decoys))
    return ranks


def pictures(count: int):
    # Few different pixels, so that there are many ties.
    return arrays(np.float32, (count, 3, 1, 2), elements=st.sampled_from([-1.0, 0.0, 1.0]))


@given(
    st.integers(1, 3).flatmap(lambda n: st.tuples(pictures(n), pictures(n))),
    st.integers(0, 9).flatmap(pictures),
    st.integers(1, 4),
)
def test_is_the_plain_loop_with_decoys_in_any_parts(pair, decoys, size):
    found, private = map(torch.tensor, pair)
    others = torch.tensor(decoys)
    expected = loop(pair[0].astype(float), pair[1].astype(float), decoys.astype(float))
    assert identification_ranks(found, private, others).tolist() == expected
    assert identification_ranks(found, private, others.split(size)).tolist() == expected


def test_ties_and_broken_pictures_count_against_the_attacker():
    private, decoys = random_images(1, 0), random_images(4, 1)
    assert identification_ranks(private, private, decoys).tolist() == [1]
    twice = torch.cat([private, decoys])
    assert identification_ranks(private, private, twice).tolist() == [2]
    broken = torch.full_like(private, float("nan"))
    assert identification_ranks(broken, private, decoys).tolist() == [5]
    decoys[2] = float("nan")
    assert identification_ranks(private, private, decoys).tolist() == [2]
    # A copy of the private image ties although its distance is summed among others.
    found = random_images(1, 2, size=31)
    crowd = torch.cat([random_images(33, 3, size=31) + 9, random_images(1, 4, size=31)])
    assert identification_ranks(found, crowd[-1:], crowd).tolist() == [2]


def test_feature_distance_is_that_of_the_representation(client, last_layer):
    found, private, decoys = (random_images(n, seed) for n, seed in ((3, 0), (3, 1), (20, 2)))
    features = [
        client_features(client, last_layer, x)[0].double() for x in (found, private, decoys)
    ]
    expected = loop(*features)
    representation = representation_of(client, last_layer)
    assert identification_ranks(found, private, decoys, representation).tolist() == expected
    # Representations that are already there serve as well.
    assert identification_ranks(*features).tolist() == expected


def test_ranks_of_unrelated_pictures_are_uniform():
    found, others = random_images(400, 0), random_images(400 * 4, 1).view(400, 4, 3, 8, 8)
    ranks = torch.cat(
        [
            identification_ranks(found[i : i + 1], others[i, :1], others[i, 1:])
            for i in range(len(found))
        ]
    )
    counts = torch.bincount(ranks, minlength=5)[1:]
    assert counts.sum() == 400
    assert (counts - 100).abs().max() < 40  # 4.6 standard deviations


class LargestStorage(TorchDispatchMode):
    """Remembers the largest tensor that anything made."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, torch.Tensor):
                self.bytes = max(self.bytes, leaf.untyped_storage().nbytes())
        return made


def test_ten_thousand_decoys_take_bounded_memory():
    decoys = torch.full((1, 3, 32, 32), 0.5).expand(10_000, -1, -1, -1)  # 123 MB if copied
    found, private = random_images(2, 0, size=32), random_images(2, 1, size=32)
    with LargestStorage() as largest:
        ranks = identification_ranks(found, private, decoys)
    assert set(ranks.tolist()) <= {1, 10_001}
    assert 0 < largest.bytes <= 50e6


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="twice"):
        identification_ranks(random_images(2, 0), random_images(1, 0), random_images(3, 0))
    with pytest.raises(ValueError, match="decoys are"):
        identification_ranks(random_images(1, 0), random_images(1, 0), random_images(3, 0, size=9))


def test_features_that_differ_by_rounding_tie():
    generator = torch.Generator().manual_seed(0)
    private = torch.randn(1, 64, generator=generator)
    rounded = private * (1 + 4e-7 * torch.randn(20, 64, generator=generator).clamp(-1, 1))
    found = private + 0.1
    assert identification_ranks(found, private, rounded, computed=True).tolist() == [21]
    farther = private - 1e-3
    assert identification_ranks(found, private, farther, computed=True).tolist() == [1]


def test_collapsed_features_do_not_tell_images_apart():
    private = torch.full((1, 16), 3.0)
    assert not tells_apart(private, private.repeat(5, 1) * (1 + 2e-7))
    assert tells_apart(private, torch.cat([private, private * 1.001]))
