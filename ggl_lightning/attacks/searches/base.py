"""What every search is: it proposes candidates and learns from their losses."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor


class Search(ABC):
    """Ask / tell over a latent space.

    A search is configured once and started afresh for every trial; `start` forgets all state of
    the one before. Its public attributes are its parameters: they identify it in results.

    Attributes:
        population: Candidates per round.
    """

    population: int

    @abstractmethod
    def start(self, latent_shape: tuple[int, ...], rounds: int, seed: int) -> None:
        """Begins a new trial.

        Args:
            latent_shape: Shape of one latent.
            rounds: Rounds this trial will have, at most.
            seed: Everything random in the trial follows from it.
        """

    @abstractmethod
    def ask(self) -> Tensor:
        """Proposes a population: float32 latents ``(population, *latent_shape)`` on the CPU."""

    @abstractmethod
    def tell(self, losses: Tensor) -> None:
        """Learns the losses ``(population,)`` of the latents last asked for, in their order."""

    @abstractmethod
    def recommend(self) -> Tensor:
        """The best guess so far: one float32 latent ``latent_shape`` on the CPU."""
