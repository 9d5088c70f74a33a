"""Controls: cases that say what the attacks' numbers mean, one file each."""

from ggl_lightning.audit.plan.controls.base import (
    Control,
    Resources,
    SampleControl,
    Samples,
    SearchControl,
    UpdateControl,
)
from ggl_lightning.audit.plan.controls.registry import (
    CONTROLS,
    bound,
    control_of,
    nulls,
    role_of,
    roles,
)

__all__ = [
    "CONTROLS",
    "Control",
    "Resources",
    "SampleControl",
    "Samples",
    "SearchControl",
    "UpdateControl",
    "bound",
    "control_of",
    "nulls",
    "role_of",
    "roles",
]
