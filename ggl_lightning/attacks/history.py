"""What is remembered of every round of a search: its loss curves."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class RoundLosses(NamedTuple):
    """The losses of one round.

    Attributes:
        evaluations: Candidates evaluated in the trial so far, this round's included.
        mean: Mean loss of the round's candidates.
        lowest: Lowest loss of the round.
        best: Lowest loss of the trial so far.
    """

    evaluations: int
    mean: float
    lowest: float
    best: float


def losses_csv(histories: Iterable[Sequence[RoundLosses]]) -> str:
    """The loss curves of an attack's trials as CSV, one line per round.

    Args:
        histories: The rounds of every trial, both in order.

    Returns:
        Columns ``trial`` (from 0), ``round`` (from 1), ``evaluations``, ``loss_mean``,
        ``loss_min``, ``loss_best``; numbers in full precision.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "round", "evaluations", "loss_mean", "loss_min", "loss_best"])
    for trial, history in enumerate(histories):
        writer.writerows([trial, number, *losses] for number, losses in enumerate(history, 1))
    return text.getvalue()
