"""No defense: the baseline every other one is compared with."""

from __future__ import annotations

from ggl_lightning.clients import Update
from ggl_lightning.defenses.base import ClientSide, Defense


class NoDefense(Defense):
    """Sends the update as it is."""

    @property
    def adds_noise(self) -> bool:
        """No."""
        return False

    def norm_bound(self, before: float | None) -> float | None:
        """That of what it is given: it sends that."""
        return before

    def __call__(self, update: Update, client: ClientSide) -> Update:
        """Returns a list of the same tensors."""
        return list(update)
