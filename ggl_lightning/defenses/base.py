"""What every defense is: a function from the client's update to the one it sends."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from ggl_lightning.clients import Update


class Defense(ABC):
    """Degrades an update on the client's side.

    A defense is configured once and used for many cases, so it keeps no state between calls.
    Its public attributes are its parameters: they identify it in results.
    """

    @abstractmethod
    def __call__(self, update: Update, generator: torch.Generator) -> Update:
        """Returns the update the client sends instead.

        Args:
            update: The client's true update. Never modified.
            generator: A CPU generator, seeded per case: the only source of randomness allowed.

        Returns:
            A new update with the same shapes, on the same device.
        """
