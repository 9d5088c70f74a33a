"""How images are dealt out, and who takes part with which of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ggl_lightning.errors import UserError
from ggl_lightning.federated import DirichletPartition, IIDPartition
from ggl_lightning.federated.sampling import Sampling

PARTITIONS = st.one_of(
    st.just(IIDPartition()),
    st.builds(DirichletPartition, st.sampled_from([0.01, 0.5, 1.0, 100.0])),
)


@settings(max_examples=60)
@given(
    partition=PARTITIONS,
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=80),
    clients=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_image_goes_to_exactly_one_client(partition, labels, clients, seed):
    shares = partition(np.array(labels), clients, np.random.default_rng(seed))
    assert len(shares) == clients
    assert sorted(np.concatenate(shares).tolist()) == list(range(len(labels)))
    again = partition(np.array(labels), clients, np.random.default_rng(seed))
    assert all(np.array_equal(a, b) for a, b in zip(shares, again, strict=True))
    if isinstance(partition, IIDPartition):
        sizes = [len(share) for share in shares]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("alpha", [0.3, 5.0])
def test_shares_of_a_class_have_the_moments_of_a_dirichlet_distribution(alpha):
    clients, draws = 4, 1500
    labels = np.repeat([0, 1], 2000)
    rng = np.random.default_rng(0)
    shares = np.array(
        [
            [np.sum(labels[part] == 1) / 2000 for part in DirichletPartition(alpha)(labels, 4, rng)]
            for _ in range(draws)
        ]
    )
    variance = (1 / clients) * (1 - 1 / clients) / (clients * alpha + 1)
    np.testing.assert_allclose(shares.mean(axis=0), 1 / clients, atol=5 * np.sqrt(variance / draws))
    np.testing.assert_allclose(shares.var(axis=0), variance, rtol=0.15)


def test_a_large_alpha_makes_clients_alike_and_a_small_one_does_not():
    labels = np.arange(2000) % 2

    def class_shares(alpha):
        parts = DirichletPartition(alpha)(labels, 5, np.random.default_rng(0))
        return np.array([labels[part].mean() for part in parts if len(part)])

    assert class_shares(1e4) == pytest.approx(0.5, abs=0.05)
    assert np.abs(class_shares(0.05) - 0.5).max() > 0.4


@pytest.mark.parametrize("alpha", [0, -1, float("nan"), float("inf")])
def test_a_bad_alpha_is_refused(alpha):
    with pytest.raises(UserError, match="alpha"):
        DirichletPartition(alpha)


SHARES = [np.arange(0, 10), np.array([], dtype=int), np.arange(10, 12), np.arange(12, 40)]


def test_chosen_clients_take_images_of_their_own_without_repetition():
    sampling = Sampling(SHARES, clients_per_round=2, images_per_client_update=4, seed=3)
    met = set()
    for number in range(60):
        chosen = sampling.choose(number)
        assert len(chosen) == 2
        for client, indices in chosen.items():
            met.add(client)
            assert len(set(indices.tolist())) == len(indices) == min(4, len(SHARES[client]))
            assert set(indices.tolist()) <= set(SHARES[client].tolist())
    assert met == {0, 2, 3}  # the client without images never takes part


def test_rounds_differ_but_do_not_depend_on_one_another():
    forwards, backwards = (Sampling(SHARES, 1, 3, seed=5) for _ in range(2))
    first = [forwards.choose(number) for number in range(8)]
    second = [backwards.choose(number) for number in reversed(range(8))]
    for a, b in zip(first, reversed(second), strict=True):
        assert a.keys() == b.keys()
        assert all(np.array_equal(a[client], b[client]) for client in a)
    assert len({str(chosen) for chosen in first}) > 4


def test_all_clients_and_all_images_if_there_are_no_more():
    chosen = Sampling(SHARES, 9, None, seed=0).choose(1)
    assert {client: len(indices) for client, indices in chosen.items()} == {0: 10, 2: 2, 3: 28}
