"""L-BFGS: descent with the curvature that the last steps have shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ggl_lightning.attacks.searches.adam import COST_OF_GRADIENT
from ggl_lightning.attacks.searches.base import Search
from ggl_lightning.attacks.searches.snapshots import under_prefix, with_prefix
from ggl_lightning.errors import check_positive

if TYPE_CHECKING:
    from ggl_lightning.attacks.spaces.base import SearchSpace

_DECREASE = 1e-4
"""Share of the slope that a step must bring (Armijo's condition)."""

_SHORTEST = 2.0**-20
"""Of a step: below it the curvature is forgotten, and descent begins anew."""


class LBFGSSearch(Search):
    """L-BFGS on several points at once, each from its own random start.

    A round is one evaluation of every restart: a step, or half of the last one that went too far.
    Directions come from the last steps by the two-loop recursion (Nocedal and Wright 2006,
    algorithm 7.4) in double precision; a step is halved until the loss falls by Armijo's condition.
    The published attacks with L-BFGS (Zhu et al. 2019) take every step at its full length instead,
    and diverge from some of their starts.

    Args:
        lr: Length of a step before it is halved, of the direction's.
        restarts: Points that descend side by side: the population.
        history: How many steps are remembered.

    Raises:
        UserError: If an argument is not positive.
    """

    descends = True

    def __init__(self, lr: float = 1.0, restarts: int = 1, history: int = 100) -> None:
        check_positive("lr", lr)
        check_positive("restarts", restarts)
        check_positive("history", history)
        self.lr = lr
        self.restarts = restarts
        self.history = history
        self._project: Callable[[Tensor], Tensor] = lambda points: points

    def evaluations(self, budget: int) -> int:
        """See `Search.evaluations`."""
        return budget * self.restarts

    def cost(self, budget: int) -> float:
        """See `Search.cost`."""
        return COST_OF_GRADIENT * self.evaluations(budget)

    def start(self, latent_shape: tuple[int, ...], budget: int, seed: int) -> None:
        """See `Search.start`; from ``N(0, I)``."""
        generator = torch.Generator().manual_seed(seed)
        self._project = lambda points: points
        self._begin(torch.randn(self.restarts, *latent_shape, generator=generator))

    def start_in(self, space: SearchSpace, count: int, budget: int, seed: int) -> None:
        """See `Search.start_in`; each point is projected into the space before it is tried."""
        generator = torch.Generator().manual_seed(seed)
        self._project = space.project
        self._begin(space.start(self.restarts, count, generator))

    def ask(self) -> Tensor:
        """See `Search.ask`; the points require gradients."""
        tried = torch.stack([each.tried for each in self._descents]).view(-1, *self._shape)
        self._asked = self._project(tried.float()).detach().requires_grad_()
        return self._asked

    def tell(self, losses: Tensor) -> None:
        """Takes each restart's point, or halves its step."""
        (gradients,) = torch.autograd.grad(losses.sum(), self._asked)
        points = self._asked.detach().flatten(1).double()
        found = zip(
            self._descents, points, losses.detach().tolist(), gradients.flatten(1), strict=True
        )
        for descent, point, loss, gradient in found:
            descent.tell(point, loss, gradient.double().cpu())

    def recommend(self) -> Tensor:
        """The lowest point of any restart."""
        best = min(self._descents, key=lambda each: each.loss)
        return self._project(best.point.float().view(1, *self._shape))[0].clone()

    def snapshot(self) -> dict[str, Tensor]:
        """See `Search.snapshot`: every restart's point, direction and steps."""
        kept: dict[str, Tensor] = {}
        for number, descent in enumerate(self._descents):
            kept.update(with_prefix(f"{number}.", descent.snapshot()))
        return kept

    def restore(
        self, snapshot: Mapping[str, Tensor], told: Sequence[Tensor], asked: Tensor | None
    ) -> None:
        """See `Search.restore`."""
        for number, descent in enumerate(self._descents):
            descent.restore(under_prefix(f"{number}.", snapshot))

    def _begin(self, points: Tensor) -> None:
        self._shape = points.shape[1:]
        self._descents = [_Descent(each, self.lr, self.history) for each in points]
        self._asked = points


class _Descent:
    """One restart.

    Attributes:
        point: The last point that was taken, ``(n,)`` in float64; the start before the first.
        loss: Its loss.
        tried: The point to be evaluated next.
    """

    def __init__(self, start: Tensor, lr: float, history: int) -> None:
        self._lr = lr
        self._history = history
        self.point = start.flatten().double()
        self.loss = float("inf")
        self.tried = self.point
        self._gradient = torch.zeros_like(self.point)
        self._direction = torch.zeros_like(self.point)
        self._length = 0.0
        self._steps: list[Tensor] = []
        self._changes: list[Tensor] = []

    def tell(self, point: Tensor, loss: float, gradient: Tensor) -> None:
        """Learns loss and gradient of the point that was tried, as it was after projection."""
        step = point - self.point
        slope = float(step @ self._gradient)
        if loss <= self.loss + _DECREASE * min(slope, 0.0):
            self._take(point, loss, gradient, step)
        elif self._length > _SHORTEST:
            self._length /= 2
        else:
            self._steps, self._changes = [], []
            self._aim()
        self.tried = self.point + self._length * self._direction

    def snapshot(self) -> dict[str, Tensor]:
        """All there is to know."""
        empty = self.point.new_zeros(0, len(self.point))
        return {
            "point": self.point.clone(),
            "tried": self.tried.clone(),
            "gradient": self._gradient.clone(),
            "direction": self._direction.clone(),
            "numbers": torch.tensor([self.loss, self._length], dtype=torch.float64),
            "steps": torch.stack(self._steps) if self._steps else empty,
            "changes": torch.stack(self._changes) if self._changes else empty,
        }

    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        """Goes back to where it was."""
        self.point, self.tried = snapshot["point"].clone(), snapshot["tried"].clone()
        self._gradient = snapshot["gradient"].clone()
        self._direction = snapshot["direction"].clone()
        self.loss, self._length = snapshot["numbers"].tolist()
        self._steps, self._changes = list(snapshot["steps"]), list(snapshot["changes"])

    def _take(self, point: Tensor, loss: float, gradient: Tensor, step: Tensor) -> None:
        change = gradient - self._gradient
        # Curvature must be positive, or the next direction might lead uphill.
        if self.loss < float("inf") and step @ change > 1e-10 * change.norm() * step.norm():
            self._steps = [*self._steps, step][-self._history :]
            self._changes = [*self._changes, change][-self._history :]
        self.point, self.loss, self._gradient = point, loss, gradient
        self._aim()

    def _aim(self) -> None:
        """Direction and length of the next step."""
        direction = -self._gradient
        factors = []
        pairs = list(zip(self._steps, self._changes, strict=True))
        for step, change in reversed(pairs):
            factor = step @ direction / (step @ change)
            direction = direction - factor * change
            factors.append(factor)
        if pairs:
            step, change = pairs[-1]
            direction = direction * (step @ change / (change @ change))
        for (step, change), factor in zip(pairs, reversed(factors), strict=True):
            direction = direction + step * (factor - change @ direction / (step @ change))
        self._direction = direction
        # The first step has no curvature to go by: it is at most as long as in PyTorch's L-BFGS.
        total = float(self._gradient.abs().sum())
        self._length = self._lr if pairs else self._lr * min(1.0, 1 / total if total else 1.0)
