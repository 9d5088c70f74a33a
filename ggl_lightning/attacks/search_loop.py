"""The rounds of one search trial."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from ggl_lightning.attacks.objective import Objective
from ggl_lightning.attacks.searches import Search

Notify = Callable[[str, "SearchLoop"], None]


class NonFiniteLossError(ArithmeticError):
    """The objective returned NaN or infinity, on which no search can learn anything."""


class SearchLoop:
    """Asks, evaluates, tells, round after round. Everything else is a `SearchCallback`'s.

    Args:
        objective: Evaluates a population of latents.
        search: A started search.
        rounds: Rounds to run, at most.
        trial: Number of this trial within its attack, from 0.
        notify: Called as ``notify(hook, loop)`` with ``hook`` one of ``on_search_start``,
            ``on_round_start``, ``on_round_end``, ``on_search_end``.

    Attributes:
        round: Rounds completed.
        evaluations: Candidates evaluated, the final recommendation included.
        losses: Losses of the last round, ``(population,)``, on the CPU.
        best_latent: Searched latent with the lowest loss so far, ``latent_shape``, on the CPU.
        best_loss: Its loss.
        started: ``time.perf_counter()`` when the search started.
        stop_reason: Why the search ended before its last round, or None.
    """

    def __init__(
        self,
        objective: Objective,
        search: Search,
        rounds: int,
        trial: int = 0,
        notify: Notify = lambda _hook, _loop: None,
    ) -> None:
        self.objective = objective
        self.search = search
        self.rounds = rounds
        self.trial = trial
        self.round = 0
        self.evaluations = 0
        self.losses = torch.empty(0)
        self.best_latent: Tensor | None = None
        self.best_loss = float("inf")
        self.started = time.perf_counter()
        self.stop_reason: str | None = None
        self._notify = notify

    @property
    def elapsed(self) -> float:
        """Seconds since the search started."""
        return time.perf_counter() - self.started

    def request_stop(self, reason: str) -> None:
        """Ends the search after the current round; ``reason`` is recorded in the result."""
        self.stop_reason = reason

    def run(self) -> None:
        """Runs all rounds; afterwards `best_latent` and `best_loss` are the answer.

        The answer is the search's recommendation, which is evaluated as one more candidate,
        unless a candidate evaluated earlier explains the update better still (an optimiser that
        restarts forgets what it found before).

        Raises:
            NonFiniteLossError: If a loss is NaN or infinite.
        """
        self.started = time.perf_counter()
        self._notify("on_search_start", self)
        while self.round < self.rounds and self.stop_reason is None:
            self._notify("on_round_start", self)
            losses, self.losses = self._evaluate(self.search.ask())
            # Losses that carry a graph are wanted as they are; others need not be fetched again.
            self.search.tell(losses if losses.requires_grad else self.losses)
            self.round += 1
            self._notify("on_round_end", self)
        self._evaluate(self.search.recommend().unsqueeze(0))
        self._notify("on_search_end", self)

    def _evaluate(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """The losses as the objective returns them, and on the CPU: the round's one transfer."""
        losses = self.objective(latents)
        values = losses.detach().cpu()
        if not values.isfinite().all():
            bad = int((~values.isfinite()).sum())
            raise NonFiniteLossError(
                f"{bad} of {len(values)} candidates of round {self.round} have a NaN or infinite "
                "loss. Check the client model's weights and the received update for such values."
            )
        self.evaluations += len(values)
        best = int(values.argmin())
        if values[best].item() < self.best_loss:
            self.best_loss = values[best].item()
            self.best_latent = latents[best].detach().cpu().clone()
        return losses, values
