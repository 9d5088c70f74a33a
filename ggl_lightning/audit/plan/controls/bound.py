"""The bound: what space, search and budget can show of the private image at best."""

from __future__ import annotations

from torch import Tensor

from ggl_lightning.attacks import Finding, Progress
from ggl_lightning.audit.plan.case import Case
from ggl_lightning.audit.plan.controls.base import Resources, SearchControl
from ggl_lightning.audit.plan.roles import Role, Standing


class DirectInversion(SearchControl):
    """The search on the private images themselves, in the attack's space, by squared error.

    It sees no defense, so there is one for each attack's name.
    """

    role = Role(
        "bound",
        "direct inversion",
        "the private image itself: the search minimises the squared error of the images",
        Standing.bound,
        has_defense=False,
        has_attack=True,
    )
    keeps_order = True

    def search(
        self,
        case: Case,
        originals: Tensor,
        labels: Tensor,
        resources: Resources,
        progress: Progress,
    ) -> Finding:
        """The images of the attack's space that it finds nearest to the private ones."""
        assert case.attack is not None
        return case.attack.invert(originals, labels, resources.target, case.spec.seed, progress)
