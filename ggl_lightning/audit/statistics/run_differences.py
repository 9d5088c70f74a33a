"""Two runs compared case by case, on the same private images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ggl_lightning.audit.results.schema import Row
from ggl_lightning.audit.statistics.compared import all_compared
from ggl_lightning.audit.statistics.differences import adjust, paired_difference
from ggl_lightning.audit.statistics.result_index import ResultIndex


def run_differences(a: Sequence[Row], b: Sequence[Row]) -> list[dict[str, Any]]:
    """Paired differences between two runs, for every defense and attack that both have.

    Cases are paired by image and seed, defenses and attacks by their names; what else differs
    between the runs, such as client model or prior, is what the difference is of. What neither run
    has under a defense and an attack is left out.

    Args:
        a: The rows of the first run.
        b: The rows of the second.

    Returns:
        One object per defense, attack and metric: ``defense``, ``attack``, ``metric`` (or ``top1_``
        and one of `RANKS`, a share of images), and ``mean`` (a minus b), ``low``, ``high``,
        ``p_value``, ``p_adjusted`` and ``count``, or ``missing``; adjusted over the whole list as
        `defense_differences` does.

    Raises:
        UserError: If one name stands for different settings within a run.
    """
    first, second = ResultIndex(a).groups, ResultIndex(b).groups
    found = []
    for pair in (pair for pair in first if pair in second):
        for compared in all_compared():
            ours = compared.side("the first run", first[pair])
            theirs = compared.side("the second run", second[pair])
            if ours.values or theirs.values:
                found.append(
                    {"defense": pair[0], "attack": pair[1], "metric": compared.name}
                    | paired_difference(compared, ours, theirs)
                )
    adjust(found)
    return found
