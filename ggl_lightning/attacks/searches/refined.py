"""Any search, followed by gradient descent from what it found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from ggl_lightning.attacks.searches.adam import COST_OF_GRADIENT, AdamSearch
from ggl_lightning.attacks.searches.base import Search
from ggl_lightning.attacks.searches.snapshots import under_prefix, with_prefix
from ggl_lightning.errors import check_positive

if TYPE_CHECKING:
    from ggl_lightning.attacks.spaces.base import SearchSpace

_SEARCH = "search."
_DESCENT = "descent."


class RefinedSearch(Search):
    """Runs a search, then descends with Adam from its recommendation.

    Args:
        search: The search that comes first; the budget is its own.
        refine_steps: Adam steps that follow.
        refine_lr: Their learning rate, ramped as in `AdamSearch`.

    Raises:
        UserError: If ``refine_steps`` or ``refine_lr`` is not positive.
    """

    def __init__(self, search: Search, refine_steps: int = 100, refine_lr: float = 0.01) -> None:
        check_positive("refine_steps", refine_steps)
        check_positive("refine_lr", refine_lr)
        self.search = search
        self.refine_steps = refine_steps
        self.refine_lr = refine_lr
        self._rounds_left = 0
        self._descent: AdamSearch | None = None

    def rounds(self, budget: int) -> int:
        """The search's own rounds and the refinement's steps."""
        return self.search.rounds(budget) + self.refine_steps

    def evaluations(self, budget: int) -> int:
        """See `Search.evaluations`."""
        return self.search.evaluations(budget) + self.refine_steps

    def cost(self, budget: int) -> float:
        """See `Search.cost`."""
        return self.search.cost(budget) + COST_OF_GRADIENT * self.refine_steps

    def start(self, latent_shape: tuple[int, ...], budget: int, seed: int) -> None:
        """See `Search.start`."""
        self.search.start(latent_shape, budget, seed)
        self._rounds_left = self.search.rounds(budget)
        self._descent = None

    def start_in(self, space: SearchSpace, count: int, budget: int, seed: int) -> None:
        """See `Search.start_in`; the descent is one in latents, which have no bounds."""
        self.search.start_in(space, count, budget, seed)
        self._rounds_left = self.search.rounds(budget)
        self._descent = None

    def ask(self) -> Tensor:
        """See `Search.ask`."""
        if self._rounds_left == 0 and self._descent is None:
            self._begin_descent(self.search.recommend().unsqueeze(0))
        return self._current.ask()

    def tell(self, losses: Tensor) -> None:
        """See `Search.tell`."""
        self._current.tell(losses)
        self._rounds_left = max(0, self._rounds_left - 1)

    def recommend(self) -> Tensor:
        """See `Search.recommend`."""
        return self._current.recommend()

    def stop(self) -> None:
        """See `Search.stop`."""
        self.search.stop()

    def snapshot(self) -> dict[str, Tensor]:
        """See `Search.snapshot`; once the descent has begun, the search before it is history."""
        prefix = _SEARCH if self._descent is None else _DESCENT
        return with_prefix(prefix, self._current.snapshot())

    def restore(
        self, snapshot: Mapping[str, Tensor], told: Sequence[Tensor], asked: Tensor | None
    ) -> None:
        """See `Search.restore`."""
        descent = under_prefix(_DESCENT, snapshot)
        if descent:
            self._begin_descent(descent["latents"])
            self._current.restore(descent, told[self._rounds_left :], asked)
        else:
            self.search.restore(under_prefix(_SEARCH, snapshot), told, asked)
        self._rounds_left = max(0, self._rounds_left - len(told))

    def _begin_descent(self, latents: Tensor) -> None:
        self._descent = AdamSearch(lr=self.refine_lr)
        self._descent.descend_from(latents, self.refine_steps)

    @property
    def _current(self) -> Search:
        return self.search if self._descent is None else self._descent
