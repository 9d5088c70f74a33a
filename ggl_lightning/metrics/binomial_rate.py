"""A rate with its exact binomial interval."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ggl_lightning.metrics.exact_interval import exact_interval
from ggl_lightning.metrics.missing import MissingError
from ggl_lightning.metrics.statistic import Statistic


class BinomialRate(Statistic):
    """Share of successes among trials, with the exact 95% interval of Clopper and Pearson (1934).

    ``compute`` returns ``rate``, ``low`` and ``high`` (0 to 1) and ``count``, the trials. A trial
    may also succeed in part: an image that was tried with four seeds and succeeded with three
    counts as 0.75. If the sum is then not whole, the interval reaches from the lower end of the
    whole number below it to the upper end of the one above; shares vary less than yes and no, so
    that it is rather too wide than too narrow.

    Args:
        **kwargs: For `torchmetrics.Metric`.
    """

    successes: Tensor
    trials: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("successes", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("trials", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, successes: Tensor, trials: Tensor | None = None) -> None:
        """Adds trials.

        Args:
            successes: Successes, ``(N,)``, each from 0 to the number of its trials.
            trials: Whole numbers of trials, ``(N,)``; one each if None.

        Raises:
            ValueError: If there are more successes than trials, or negative ones.
        """
        if trials is None:
            trials = torch.ones_like(successes)
        if successes.shape != trials.shape or not ((successes >= 0) & (successes <= trials)).all():
            raise ValueError(
                f"{successes} successes in {trials} trials: expected 0 to all of them."
            )
        self.successes += successes.double().sum()
        self.trials += trials.sum()

    def compute(self) -> dict[str, Tensor]:
        """The rate and its interval.

        Raises:
            MissingError: If there was no trial.
        """
        successes, trials = self.successes.item(), round(self.trials.item())
        if not trials:
            raise MissingError("no image has a value")
        low, high = exact_interval(successes, trials)
        return self.tensors({"rate": successes / trials, "low": low, "high": high, "count": trials})
