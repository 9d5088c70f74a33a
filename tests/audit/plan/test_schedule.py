"""How cases are shared out over ranks."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from ggl_lightning.audit.plan.schedule import share_out

COSTS = st.lists(st.floats(0, 100), max_size=7)


@given(COSTS, st.integers(1, 4))
def test_every_piece_goes_to_one_rank(costs, ranks):
    shares = share_out(costs, ranks)
    assert len(shares) == ranks
    assert sorted(position for share in shares for position in share) == list(range(len(costs)))
    assert all(share == sorted(share) for share in shares)


@given(COSTS, st.integers(1, 3))
def test_no_rank_has_more_than_four_thirds_of_the_best_possible(costs, ranks):
    def longest(assignment):
        return max(
            sum(c for c, rank in zip(costs, assignment, strict=True) if rank == r)
            for r in range(ranks)
        )

    best = min(longest(a) for a in product(range(ranks), repeat=len(costs)))
    ours = max(sum(costs[i] for i in share) for share in share_out(costs, ranks))
    assert ours <= 4 / 3 * best + 1e-9
