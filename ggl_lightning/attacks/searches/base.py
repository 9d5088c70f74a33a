"""What every search is: it proposes candidates and learns from their losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ggl_lightning.attacks.spaces.base import SearchSpace


class NotRepeatableError(Exception):
    """A search cannot be brought back to where it was by asking and telling once more."""


class Search(ABC):
    """Ask / tell over a search space, such as a prior's latents.

    A search is configured once and started afresh for every trial; `start` forgets all state of
    the one before. Its public attributes are its parameters: they identify it in results.

    A search that descends on the objective's gradient asks for latents that require gradients; the
    losses it is told then carry their graph.

    Attributes:
        descends: Whether it begins at a space's starts and keeps to the space, as descents do;
            other searches begin around ``N(0, I)`` and know no bounds.
    """

    descends: bool = False

    def rounds(self, budget: int) -> int:
        """How many rounds a budget is; a budget counts rounds unless a search says otherwise."""
        return budget

    @abstractmethod
    def evaluations(self, budget: int) -> int:
        """How many candidates a budget evaluates, at the most."""

    def cost(self, budget: int) -> float:
        """The same in evaluations without gradient; one with a gradient costs several."""
        return self.evaluations(budget)

    @abstractmethod
    def start(self, latent_shape: tuple[int, ...], budget: int, seed: int) -> None:
        """Begins a new trial.

        Args:
            latent_shape: Shape of one candidate.
            budget: What the trial may spend.
            seed: Everything random in the trial follows from it.
        """

    def start_in(self, space: SearchSpace, count: int, budget: int, seed: int) -> None:
        """Begins a new trial in a space; a search that ``descends`` begins at its starts.

        Args:
            space: The space.
            count: How many images a point stands for.
            budget: As in `start`.
            seed: As in `start`.
        """
        self.start(space.shape(count), budget, seed)

    @abstractmethod
    def ask(self) -> Tensor:
        """Proposes a population: float32 latents ``(C, *latent_shape)`` on the CPU."""

    @abstractmethod
    def tell(self, losses: Tensor) -> None:
        """Learns the losses ``(C,)`` of the latents last asked for, in their order."""

    @abstractmethod
    def recommend(self) -> Tensor:
        """The best guess so far: one float32 latent ``latent_shape`` on the CPU, detached."""

    def stop(self) -> None:
        """Ends the trial, also one that an error ended: to let go of threads, if there are any."""
        return None

    def snapshot(self) -> dict[str, Tensor]:
        """What `restore` needs besides the losses told so far, between `tell` and `ask`.

        Nothing, unless a search overrides both. The tensors must not change when the search goes
        on.
        """
        return {}

    def restore(
        self, snapshot: Mapping[str, Tensor], told: Sequence[Tensor], asked: Tensor | None
    ) -> None:
        """Puts a search that has just been started back to where it was interrupted.

        It must go on as if nothing had happened, to the last bit. By default every round so far is
        asked for and told again: that rebuilds any state that follows from the seed and the
        losses, without evaluating anything. Searches to which this is no option (their rounds are
        expensive in themselves, or need more than the values of the losses) override this and
        `snapshot`.

        Args:
            snapshot: What `snapshot` returned.
            told: The losses of every round so far, ``(C,)`` each, on the CPU, without graph.
            asked: The latents of the last of these rounds; None if there is none.

        Raises:
            NotRepeatableError: If other latents are proposed this time, or require gradients.
        """
        again = None
        for losses in told:
            again = self.ask()
            if again.requires_grad:
                raise NotRepeatableError(
                    f"{type(self).__name__} needs gradients, and does not say how to go on without"
                )
            self.tell(losses)
        if again is not None and asked is not None and not torch.equal(again, asked):
            raise NotRepeatableError(
                f"{type(self).__name__} does not repeat itself, although its seed is the same"
            )
