"""The null that reads nothing but the label off an update."""

from __future__ import annotations

from torch import Tensor

from ggl_lightning.audit.plan.case import Case
from ggl_lightning.audit.plan.controls.base import Resources, SampleControl, Samples
from ggl_lightning.audit.plan.roles import Role, Standing


class RandomLatents(SampleControl):
    """Random latents of the prior with the private labels, one case for each client."""

    role = Role(
        "null_random",
        "random latents",
        "nothing: random latents, `random_samples` of them; their mean scores count",
        Standing.null,
        has_defense=False,
        has_attack=False,
    )

    def sample(
        self, case: Case, originals: Tensor, labels: Tensor, resources: Resources
    ) -> Samples:
        """Random samples of the prior, seeded by the case's seed."""
        return resources.score_random(originals, labels, case.places, case.spec.seed)
