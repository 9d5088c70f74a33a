"""The null that reads nothing but the label off an update."""

from __future__ import annotations

from torch import Tensor

from ggl_lightning.audit.plan.case import Case
from ggl_lightning.audit.plan.controls.base import Resources, SampleControl, Samples
from ggl_lightning.audit.plan.roles import Role, Standing


class RandomSamples(SampleControl):
    """Random latents of the prior with the private labels, one case for each client.

    Without a prior, public images of any class.
    """

    role = Role(
        "null_random",
        "random samples",
        "nothing: random latents, or public images where there is no prior; the mean scores of "
        "`random_samples` of them count",
        Standing.null,
        has_defense=False,
        has_attack=False,
    )
    needs_random_images = True

    def sample(
        self, case: Case, originals: Tensor, labels: Tensor, resources: Resources
    ) -> Samples:
        """Random samples, seeded by the case's seed."""
        return resources.score_random(originals, labels, case.places, case.spec.seed)
