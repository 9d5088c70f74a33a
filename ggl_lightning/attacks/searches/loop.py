"""The rounds of one search trial."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ggl_lightning.attacks.objective import Objective
from ggl_lightning.attacks.searches import Search
from ggl_lightning.attacks.searches.snapshots import RoundLosses, TrialSnapshot
from ggl_lightning.seeding import rng_state, set_rng_state

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
        earlier: The attack's finished trials before this one.

    Attributes:
        round: Rounds completed.
        history: The losses of each of them.
        evaluations: Candidates evaluated, the final recommendation included.
        losses: Losses of the last round, ``(population,)``, on the CPU.
        best_latent: Searched latent with the lowest loss so far, ``latent_shape``, on the CPU.
        best_loss: Its loss.
        started: ``time.perf_counter()`` when the search started; earlier by the time spent before
            an interruption.
        stop_reason: Why the search ended before its last round, or None.
        finished: Whether the search has ended.
    """

    def __init__(
        self,
        objective: Objective,
        search: Search,
        rounds: int,
        trial: int = 0,
        notify: Notify = lambda _hook, _loop: None,
        earlier: Sequence[SearchLoop] = (),
    ) -> None:
        self.objective = objective
        self.search = search
        self.rounds = rounds
        self.trial = trial
        self.earlier = tuple(earlier)
        self.round = 0
        self.history: list[RoundLosses] = []
        self.evaluations = 0
        self.losses = torch.empty(0)
        self.best_latent: Tensor | None = None
        self.best_loss = float("inf")
        self.started = time.perf_counter()
        self.stop_reason: str | None = None
        self._told: list[Tensor] = []
        self._asked: Tensor | None = None
        self._seconds_before = 0.0
        self._seconds: float | None = None
        self._notify = notify

    @property
    def finished(self) -> bool:
        """See the class."""
        return self._seconds is not None

    @property
    def elapsed(self) -> float:
        """Seconds the search has taken, without those between interruption and resumption."""
        return time.perf_counter() - self.started if self._seconds is None else self._seconds

    def request_stop(self, reason: str) -> None:
        """Ends the search after the current round; ``reason`` is recorded in the result."""
        self.stop_reason = reason

    def run(self) -> None:
        """Runs all rounds that are left; afterwards `best_latent` and `best_loss` are the answer.

        The answer is the search's recommendation, which is evaluated as one more candidate,
        unless a candidate evaluated earlier explains the update better still (an optimiser that
        restarts forgets what it found before).

        Raises:
            NonFiniteLossError: If a loss is NaN or infinite.
        """
        self.started = time.perf_counter() - self._seconds_before
        try:
            self._notify("on_search_start", self)
            while self.round < self.rounds and self.stop_reason is None:
                self._notify("on_round_start", self)
                self._run_round()
                self._notify("on_round_end", self)
            self._evaluate(self.search.recommend().unsqueeze(0))
            self._seconds = self.elapsed
        finally:
            self.search.stop()
        self._notify("on_search_end", self)

    def _run_round(self) -> None:
        latents = self.search.ask()
        losses, values = self._evaluate(latents)
        asked = latents.detach().clone()  # a search may change its latents when it is told
        # Losses that carry a graph are wanted as they are; others need not be fetched again.
        self.search.tell(losses if losses.requires_grad else values)
        self._asked = asked
        self._remember(values.clone())

    def snapshot(self) -> TrialSnapshot:
        """What `restore` needs to go on; to be taken between rounds or when finished.

        It stays as it is when the search goes on.
        """
        return TrialSnapshot(
            finished=self.finished,
            evaluations=self.evaluations,
            best_loss=self.best_loss,
            best_latent=self.best_latent,
            seconds=self.elapsed,
            stop_reason=self.stop_reason,
            told=tuple(self._told),
            asked=None if self.finished else self._asked,
            # A finished loop's search may be in use for the next trial.
            search={} if self.finished else self.search.snapshot(),
            rng={} if self.finished else rng_state(),
        )

    def restore(self, snapshot: TrialSnapshot) -> None:
        """Puts a loop that has not run yet to where `snapshot` was taken.

        Unless the snapshot's trial is finished, `run` then ends as it would have without the
        interruption, to the last bit. This sets the global generators too; when it is called, they
        must be as they were when the trial began, since a search may have drawn from them.

        Raises:
            NotRepeatableError: If the search cannot be brought back to where it was.
        """
        if snapshot.finished:
            self._seconds = snapshot.seconds
        else:
            self.search.restore(snapshot.search, snapshot.told, snapshot.asked)
            set_rng_state(snapshot.rng)
        self._seconds_before = snapshot.seconds
        self._asked = snapshot.asked
        for losses in snapshot.told:
            self._remember(losses)
        self.evaluations = snapshot.evaluations
        self.best_loss = snapshot.best_loss
        self.best_latent = snapshot.best_latent
        self.stop_reason = snapshot.stop_reason

    def _remember(self, losses: Tensor) -> None:
        """Adds a completed round."""
        self.losses = losses
        self.round += 1
        self._told.append(losses)
        before = self.history[-1] if self.history else RoundLosses(0, 0.0, 0.0, float("inf"))
        lowest = losses.min().item()
        self.history.append(
            RoundLosses(
                evaluations=before.evaluations + len(losses),
                mean=losses.mean().item(),
                lowest=lowest,
                best=min(before.best, lowest),
            )
        )

    def _evaluate(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """The losses as the objective returns them, and on the CPU: the round's one transfer."""
        losses = self.objective(latents)
        values = losses.detach().cpu()
        if not values.isfinite().all():
            bad = int((~values.isfinite()).sum())
            raise NonFiniteLossError(
                f"{bad} of {len(values)} candidates of round {self.round} have a NaN or infinite "
                "loss: what the prior makes of them, or the client model of that, is not finite or "
                "too large to be squared"
            )
        self.evaluations += len(values)
        best = int(values.argmin())
        if values[best].item() < self.best_loss:
            self.best_loss = values[best].item()
            self.best_latent = latents[best].detach().cpu().clone()
        return losses, values
