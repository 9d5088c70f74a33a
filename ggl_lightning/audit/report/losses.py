"""Loss curves from ``losses.csv``, thinned to what a figure can show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

# Else it takes SIGTERM for itself while it reads, and ends that in an error of its own.
pa.enable_signal_handlers(False)

_COLUMNS = {
    "trial": pa.int64(),
    "evaluations": pa.int64(),
    "loss_best": pa.float64(),
}


@dataclass(frozen=True)
class LossCurve:
    """The lowest loss found so far.

    Attributes:
        evaluations: Candidate evaluations over all trials, rising, ``(n,)``.
        losses: The lowest loss so far after each, ``(n,)``.
    """

    evaluations: np.ndarray
    losses: np.ndarray

    def at(self, evaluations: np.ndarray) -> np.ndarray:
        """The lowest loss after so many evaluations, NaN before the first.

        A search that has ended keeps its last one.
        """
        position = np.searchsorted(self.evaluations, evaluations, side="right") - 1
        return np.where(position < 0, np.nan, self.losses[np.maximum(position, 0)])


class NoCurveError(Exception):
    """There is no loss curve: the message is the reason."""


def read_curve(file: Path) -> LossCurve:
    """Reads one case's losses.

    A trial's evaluations count on from the trial before it, whether or not the file says so.

    Args:
        file: A ``losses.csv``.

    Raises:
        NoCurveError: If it is not there, not such a table, or holds no finite loss.
    """
    try:
        table = csv.read_csv(
            file,
            convert_options=csv.ConvertOptions(
                column_types=_COLUMNS, include_columns=list(_COLUMNS)
            ),
        )
    except FileNotFoundError as error:
        raise NoCurveError("no losses.csv") from error
    except (OSError, pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise NoCurveError("losses.csv is not a table of losses") from error
    trial, evaluations, losses = (
        table.column(name).to_numpy().astype(np.float64) for name in _COLUMNS
    )
    usable = np.isfinite(losses) & np.isfinite(trial) & np.isfinite(evaluations)
    trial, evaluations, losses = trial[usable], evaluations[usable], losses[usable]
    if not len(losses):
        raise NoCurveError("losses.csv holds no finite loss")
    restarts = np.flatnonzero((np.diff(trial) != 0) & (np.diff(evaluations) <= 0)) + 1
    for start in restarts:
        evaluations[start:] += evaluations[start - 1]
    return LossCurve(evaluations, np.minimum.accumulate(losses))
