"""The null that attacks the update of another client."""

from __future__ import annotations

from collections.abc import Sequence

from ggl_lightning.attacks import Received
from ggl_lightning.audit.plan.case import Case, CaseSpec
from ggl_lightning.audit.plan.companions import Companions
from ggl_lightning.audit.plan.controls.base import Resources, UpdateControl
from ggl_lightning.audit.plan.roles import Role, Standing
from ggl_lightning.updates import UpdateRecord


class OtherUpdate(UpdateControl):
    """The attack on the defended update of other private images of the same classes."""

    role = Role(
        "null_other",
        "another image\N{RIGHT SINGLE QUOTATION MARK}s update",
        "the defended update of another private image of the same class",
        Standing.null,
        has_defense=True,
        has_attack=True,
    )

    def lacks(self, indices: Sequence[int], companions: Companions) -> str | None:
        """Other images, where a client holds more than half of a class."""
        has_others = companions.have_others(indices)
        return None if has_others else "has no other images of their classes"

    def lacks_of_record(self, has_images: bool) -> str | None:
        """How the client's system makes and defends an update, which only it knows."""
        return "what a recorded client's system would have sent of other images is not known"

    def other_images(self, spec: CaseSpec, companions: Companions) -> list[int]:
        """Those of the other client."""
        return companions.other_indices(spec.indices, spec.seed)

    def record(self, case: Case, received: Received, resources: Resources) -> UpdateRecord:
        """What the other client sends under the same defense."""
        companions = resources.companions
        assert isinstance(companions, Companions)
        others = self.other_images(case.spec, companions)
        images, labels = (x.to(resources.target.device) for x in companions.read(others))
        return resources.send(case, images, labels)
