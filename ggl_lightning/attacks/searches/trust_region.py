"""TuRBO's trust region: a box that grows with success and shrinks with failure."""

from __future__ import annotations

import math

from torch import Tensor

_INITIAL_LENGTH = 0.8
_MINIMUM_LENGTH = 0.5**7
_MAXIMUM_LENGTH = 1.6
_SUCCESS_TOLERANCE = 3
_SMALLEST_IMPROVEMENT = 1e-3


class TrustRegion:
    """Side length and counters of one trust region in the unit cube (Eriksson et al. 2019).

    Three successful batches in a row double the side; ``ceil(max(4, d) / batch_size)`` failed ones
    halve it. A batch succeeds if it improves on the best value by more than 0.1% of it.

    Args:
        dimension: ``d``.
        batch_size: Evaluations per batch.

    Attributes:
        length: Side length.
        successes: Successful batches in a row.
        failures: Failed batches in a row.
    """

    def __init__(self, dimension: int, batch_size: int) -> None:
        self.length = _INITIAL_LENGTH
        self._failure_tolerance = math.ceil(max(4, dimension) / batch_size)
        self.successes = 0
        self.failures = 0

    @property
    def exhausted(self) -> bool:
        """Whether the side has shrunk below its minimum."""
        return self.length < _MINIMUM_LENGTH

    def update(self, lowest_of_batch: float, lowest_before: float) -> None:
        """Counts a batch as a success or a failure, and resizes the region when it is due."""
        if lowest_of_batch < lowest_before - _SMALLEST_IMPROVEMENT * abs(lowest_before):
            self.successes, self.failures = self.successes + 1, 0
        else:
            self.successes, self.failures = 0, self.failures + 1
        if self.successes == _SUCCESS_TOLERANCE:
            self.length = min(2 * self.length, _MAXIMUM_LENGTH)
            self.successes = 0
        elif self.failures == self._failure_tolerance:
            self.length /= 2
            self.failures = 0

    def box(self, center: Tensor, lengthscales: Tensor) -> tuple[Tensor, Tensor]:
        """Lower and upper corner ``(d,)`` of the region within the unit cube.

        Args:
            center: ``(d,)``.
            lengthscales: ``(d,)``; the box is longer where the objective varies slowly, with the
                volume ``length^d`` before it is cut to the cube.
        """
        shape = lengthscales / lengthscales.log().mean().exp()
        half = shape * self.length / 2
        return (center - half).clamp(0, 1), (center + half).clamp(0, 1)
