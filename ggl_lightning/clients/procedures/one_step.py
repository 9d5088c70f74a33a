"""What procedures of one step over all images have in common."""

from __future__ import annotations

import torch

from ggl_lightning.clients.procedures.base import ClientProcedure
from ggl_lightning.clients.procedures.order import Order, complete
from ggl_lightning.clients.procedures.update import Kind


class OneStep(ClientProcedure):
    """A procedure that takes all images at once, as they come, and sends a gradient."""

    @property
    def kind(self) -> Kind:
        """A gradient."""
        return "gradient"

    def order(self, count: int, generator: torch.Generator) -> Order:
        """See `ClientProcedure.order`: one step with all images as they come."""
        return complete([torch.arange(count)], self.augmentations, generator)

    def rates(self, steps: int, count: int) -> list[float]:
        """See `ClientProcedure.rates`."""
        return [1.0] * steps

    def shuffles(self, count: int) -> bool:
        """See `ClientProcedure.shuffles`."""
        return False

    def batch_sizes(self, count: int) -> list[int]:
        """See `ClientProcedure.batch_sizes`."""
        return [count]
