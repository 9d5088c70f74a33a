"""What of an attacker's estimate of a defense changes what is learnt."""

from __future__ import annotations

from ggl_lightning.defenses import Adaptation
from ggl_lightning.defenses.compose import AdaptInOrder
from ggl_lightning.defenses.exclude_vars import LeaveOut
from ggl_lightning.defenses.representation import KeepColumns

_NOT_SEEN = (KeepColumns, LeaveOut)
"""What these leave out is not looked at: the last layer, and tensors that are zeros."""


def shared_adaptation(adaptation: Adaptation | None) -> Adaptation | None:
    """What to do to public images' updates, the same for all updates under one defense.

    Args:
        adaptation: The attacker's estimate, by one update.

    Returns:
        None if directions of the tensors looked at stay as they are.
    """
    if adaptation is None or adaptation.only_scales or isinstance(adaptation, _NOT_SEEN):
        return None
    if isinstance(adaptation, AdaptInOrder):
        parts = [shared_adaptation(each) for each in adaptation.adaptations]
        changing = {str(i): each for i, each in enumerate(parts) if each is not None}
        return AdaptInOrder(changing).shared() if changing else None
    return adaptation.shared()
