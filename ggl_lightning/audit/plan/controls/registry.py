"""Which controls and which roles there are."""

from __future__ import annotations

from ggl_lightning.audit.plan.controls.base import Control
from ggl_lightning.audit.plan.controls.bound import DirectInversion
from ggl_lightning.audit.plan.controls.noise import NoiseUpdate
from ggl_lightning.audit.plan.controls.other import OtherUpdate
from ggl_lightning.audit.plan.controls.random import RandomSamples
from ggl_lightning.audit.plan.roles import ATTACK, Role, Standing

CONTROLS: dict[str, Control] = {
    control.role.name: control
    for control in (RandomSamples(), NoiseUpdate(), OtherUpdate(), DirectInversion())
}
"""All controls by their role's name, in the order in which they are shown."""


def control_of(role: str) -> Control | None:
    """The control that has a role; None for an attack."""
    return CONTROLS.get(role)


def roles() -> dict[str, Role]:
    """All roles by name, in the order in which they are shown: the attack first."""
    found = [ATTACK, *(control.role for control in CONTROLS.values())]
    return {role.name: role for role in found}


def role_of(name: str) -> Role:
    """The role of a name."""
    return ATTACK if name == ATTACK.name else CONTROLS[name].role


def nulls() -> list[Role]:
    """Roles of controls that know nothing of the private image but its label."""
    return [role for role in roles().values() if role.standing is Standing.null]


def bound() -> Role:
    """The role of the control that knows the private image itself."""
    (found,) = (role for role in roles().values() if role.standing is Standing.bound)
    return found
