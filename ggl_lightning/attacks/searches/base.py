"""What every search is: it proposes candidates and learns from their losses."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor


class Search(ABC):
    """Ask / tell over a latent space.

    A search is configured once and started afresh for every trial; `start` forgets all state of
    the one before. Its public attributes are its parameters: they identify it in results.

    A search that descends on the objective's gradient asks for latents that require gradients; the
    losses it is told then carry their graph.
    """

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

    @abstractmethod
    def ask(self) -> Tensor:
        """Proposes a population: float32 latents ``(C, *latent_shape)`` on the CPU."""

    @abstractmethod
    def tell(self, losses: Tensor) -> None:
        """Learns the losses ``(C,)`` of the latents last asked for, in their order."""

    @abstractmethod
    def recommend(self) -> Tensor:
        """The best guess so far: one float32 latent ``latent_shape`` on the CPU, detached."""
