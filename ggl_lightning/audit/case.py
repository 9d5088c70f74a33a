"""One cell of an audit: private images x defense x attack x seed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import Tensor

from ggl_lightning.attacks import GenerativeGradientLeakage
from ggl_lightning.defenses import Defense
from ggl_lightning.errors import UserError

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


@dataclass(frozen=True)
class Case:
    """Everything that sets one case apart from the others of its audit.

    Attributes:
        indices: Indices of the client's ``N`` private images in their split.
        images: The private images, ``(N, 3, H, W)`` in ``[-1, 1]``.
        labels: Their labels, ``(N,)``.
        defense_name: What the user calls the defense.
        defense: The defense.
        attack_name: What the user calls the attack.
        attack: The attack.
        seed: Seeds the defense's noise and the search.
    """

    indices: tuple[int, ...]
    images: Tensor
    labels: Tensor
    defense_name: str
    defense: Defense
    attack_name: str
    attack: GenerativeGradientLeakage
    seed: int

    @property
    def group(self) -> str:
        """What results are averaged over: the cases of one defense and one attack."""
        return group_name(self.defense_name, self.attack_name)

    @property
    def name(self) -> str:
        """A readable name, unique in its audit and safe as a folder's name."""
        images = f"image{self.indices[0]:06d}"
        if len(self.indices) > 1:
            images += f"x{len(self.indices)}"
        return f"{images}_{self.defense_name}_{self.attack_name}_seed{self.seed}"


def group_name(defense_name: str, attack_name: str) -> str:
    """The name of the group of cases with this defense and this attack."""
    return f"{defense_name}/{attack_name}"


def check_name(what: str, name: str) -> None:
    """Raises unless a name from the configuration is safe as part of a file name.

    Args:
        what: What the name is of, e.g. ``defense``.
        name: The name.

    Raises:
        UserError: If it has other characters than letters, digits and ``_ . + -``, or starts with
            one of these four.
    """
    if not _SAFE_NAME.fullmatch(name):
        raise UserError(
            f"The {what} name {name!r} becomes part of file names: use letters, digits and "
            "'_', '.', '+', '-' only, and begin with a letter or digit."
        )
