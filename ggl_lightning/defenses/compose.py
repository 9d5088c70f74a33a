"""Several defenses, one after the other."""

from __future__ import annotations

import copy

from ggl_lightning.clients import ClassifierLayer, Update
from ggl_lightning.defenses.base import Adaptation, ClientSide, Defense
from ggl_lightning.errors import UserError


class Compose(Defense):
    """Applies defenses in the given order; the order matters.

    Args:
        defenses: At least one. One that computes the update anew, as `DPSGD`, must come first.

    Raises:
        UserError: If the list is empty, or a defense that computes the update anew does not come
            first.
    """

    def __init__(self, defenses: list[Defense]) -> None:
        if not defenses:
            raise UserError("defenses of Compose is an empty list: it must name at least one.")
        for position, defense in enumerate(defenses):
            if position > 0 and defense.replaces_update:
                raise UserError(
                    f"defenses of Compose has {type(defense).__name__} at position {position}: it "
                    "computes the update anew from the private images, so what comes before it "
                    "would have no effect. It must come first."
                )
        self.defenses = defenses

    @property
    def replaces_update(self) -> bool:
        """Whether the first defense computes the update anew."""
        return self.defenses[0].replaces_update

    @property
    def hides_scale(self) -> bool:
        """Whether any of them does."""
        return any(defense.hides_scale for defense in self.defenses)

    @property
    def adds_noise(self) -> bool:
        """Whether one of them may."""
        return any(defense.adds_noise for defense in self.defenses)

    @property
    def reads_images(self) -> bool:
        """Whether any of them does."""
        return any(defense.reads_images for defense in self.defenses)

    def norm_bound(self, before: float | None) -> float | None:
        """As the defenses leave it, one after the other."""
        for defense in self.defenses:
            before = defense.norm_bound(before)
        return before

    def noise_multiplier_after(self, before: float | None) -> float | None:
        """The largest of any defense: what comes after noise cannot take it away again.

        Unless it reads the private images anew: noise before it counts for nothing.
        """
        found: list[float] = []
        for defense in self.defenses:
            multiplier = defense.noise_multiplier_after(before)
            found = [] if defense.reads_images else found
            found += [] if multiplier is None else [multiplier]
            before = defense.norm_bound(before)
        return max(found, default=None)

    def __call__(self, update: Update, client: ClientSide) -> Update:
        """Returns the update as the last defense leaves it."""
        for defense in self.defenses:
            update = defense(update, client)
        return update

    def adapt(self, received: Update, classifier: ClassifierLayer) -> Adaptation | None:
        """Every member's estimate from the received update, applied in the members' order.

        The attacker has only the end result, in which a later defense may have covered the traces
        of an earlier one: noise after compression leaves no zeros to count, for instance.
        """
        adaptations = {
            f"{position}.{type(defense).__name__}": adaptation
            for position, defense in enumerate(self.defenses)
            if (adaptation := defense.adapt(received, classifier)) is not None
        }
        return AdaptInOrder(adaptations) if adaptations else None

    def guarantee(self) -> dict[str, float]:
        """The first defense's: what is done to a private result afterwards cannot weaken it.

        None if a later one reads the private images anew.
        """
        if any(defense.reads_images for defense in self.defenses[1:]):
            return {}
        return self.defenses[0].guarantee()


class AdaptInOrder(Adaptation):
    """Applies adaptations one after the other.

    Args:
        adaptations: By the name under which their estimates are reported, e.g. ``0.Clipping`` for
            ``0.Clipping.bound``.
    """

    def __init__(self, adaptations: dict[str, Adaptation]) -> None:
        self.adaptations = list(adaptations.values())
        self.estimate = {
            f"{name}.{parameter}": value
            for name, adaptation in adaptations.items()
            for parameter, value in adaptation.estimate.items()
        }

    @property
    def only_scales(self) -> bool:  # type: ignore[override]
        """Whether all of them only scale."""
        return all(adaptation.only_scales for adaptation in self.adaptations)

    def shared(self) -> AdaptInOrder:
        """All of them as coarse as they can be."""
        found = copy.copy(self)
        found.adaptations = [adaptation.shared() for adaptation in self.adaptations]
        found.estimate = {}  # those of single updates
        return found

    def __call__(self, update: Update) -> Update:
        """Returns the update as the last adaptation leaves it."""
        for adaptation in self.adaptations:
            update = adaptation(update)
        return update
