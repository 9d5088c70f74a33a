"""What a control is: its role, what it replaces, and what determines its result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ggl_lightning.attacks import Finding, Progress, Received, Target
from ggl_lightning.audit.plan.case import Case, CaseSpec
from ggl_lightning.audit.plan.companions import Companions
from ggl_lightning.audit.plan.roles import Role
from ggl_lightning.audit.plan.sources import Lineup
from ggl_lightning.updates import UpdateRecord


@dataclass(frozen=True)
class Samples:
    """What a `SampleControl` gives.

    Attributes:
        scores: Fields of the case's row, those of `Scorer.score`.
        images: One sample per private image, in their order, ``(N, 3, H, W)`` in ``[-1, 1]``.
        latents: Their latents ``(N, *latent_shape)``; None if they have none.
    """

    scores: dict[str, Any]
    images: Tensor
    latents: Tensor | None


@dataclass(frozen=True)
class Resources:
    """What a control may use beside its case.

    Attributes:
        target: What is attacked, and what the attacker has at hand.
        companions: Other images of the private images' classes; of a recorded update, its lineup.
        send: What a case's client would send, defended, were its private images and labels these,
            on the target's device.
        score_random: Scores random images: of private images, their labels, their indices and a
            seed.
    """

    target: Target
    companions: Companions | Lineup
    send: Callable[[Case, Tensor, Tensor], UpdateRecord]
    score_random: Callable[[Tensor, Tensor, tuple[int, ...], int], Samples]


class Control(ABC):
    """Cases that say what the attacks' numbers mean.

    Subclass one of `UpdateControl`, `SearchControl` and `SampleControl`, which say what is
    replaced, and add an instance to `registry.CONTROLS`: grid, keys, statistics and report ask it.

    Attributes:
        needs_random_images: Whether it needs samples of a prior, or public images in their place.
    """

    role: ClassVar[Role]
    needs_random_images: ClassVar[bool] = False

    def lacks(self, indices: Sequence[int], companions: Companions) -> str | None:
        """What the split lacks for this control of a client, as in ``has no other images``.

        Such cases are left out. None if it lacks nothing.

        Args:
            indices: The client's private images.
            companions: Other images of their classes.
        """
        return None

    def lacks_of_record(self, has_images: bool) -> str | None:
        """Why there is no such control of a recorded update; None if there is.

        Args:
            has_images: Whether the private images behind it are given, with their labels.
        """
        return None if has_images else "the private images behind those records are not given"

    def other_images(self, spec: CaseSpec, companions: Companions) -> list[int]:
        """Indices of images that a case reads beside the private ones and their decoys.

        They are checked before anything is run, and their content is part of the case's key.
        """
        return []

    def determinants(self, spec: CaseSpec, companions: Companions) -> dict[str, Any]:
        """What determines a case's result beside what determines an attack's, ready for JSON."""
        others = self.other_images(spec, companions)
        return {"others": companions.content_hash(others)} if others else {}


class UpdateControl(Control):
    """The attack, at its own search and budget, on another update than the received one.

    Its role has a defense and an attack.
    """

    @abstractmethod
    def record(self, case: Case, received: Received, resources: Resources) -> UpdateRecord:
        """What stands in the place of the received record.

        Args:
            case: The control's case.
            received: What the attack would have; not modified.
            resources: What else there is.
        """


class SearchControl(Control):
    """Another search than the attack's. Its role has an attack.

    Attributes:
        keeps_order: Whether reconstructions are in the private images' order, and need not be
            matched with them.
    """

    keeps_order: ClassVar[bool] = False

    @abstractmethod
    def search(
        self,
        case: Case,
        originals: Tensor,
        labels: Tensor,
        resources: Resources,
        progress: Progress,
    ) -> Finding:
        """What the search finds.

        Args:
            case: The control's case.
            originals: Its private images ``(N, 3, H, W)`` in ``[-1, 1]``, on the target's
                device.
            labels: Their labels ``(N,)``, likewise.
            resources: What else there is.
            progress: What to tell of the search, and what was kept of it when it was interrupted.
        """


class SampleControl(Control):
    """Images that need neither an update nor a search."""

    @abstractmethod
    def sample(
        self, case: Case, originals: Tensor, labels: Tensor, resources: Resources
    ) -> Samples:
        """The images and how they score; arguments as in `SearchControl.search`."""
