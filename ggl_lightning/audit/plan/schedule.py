"""Which rank runs which cases."""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def share_out(costs: Sequence[float], ranks: int) -> list[list[int]]:
    """Gives every piece of work to one rank, so that all have about the same to do.

    The dearest piece first, each to the rank that has least so far: never more than 4/3 of the best
    possible time (Graham 1969, bound of the LPT rule).

    Args:
        costs: Of every piece, in any unit.
        ranks: How many there are.

    Returns:
        For each rank the positions of its pieces, in ascending order.
    """
    shares: list[list[int]] = [[] for _ in range(ranks)]
    loads = [(0.0, rank) for rank in range(ranks)]
    for position in sorted(range(len(costs)), key=lambda i: -costs[i]):
        load, rank = heapq.heappop(loads)
        shares[rank].append(position)
        heapq.heappush(loads, (load + costs[position], rank))
    return [sorted(share) for share in shares]
