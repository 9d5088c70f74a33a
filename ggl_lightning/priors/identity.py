"""Makes settings that are not weights part of what identifies a prior."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def settings_digest(*settings: object) -> Tensor:
    """Digest of a prior's settings, to be registered as a buffer.

    Two priors with equal weights but, say, different truncations generate different images. An
    audit tells priors apart by their state, so the settings must be in it.

    Args:
        settings: Values whose ``str`` says all that matters.

    Returns:
        uint8 ``(32,)``: SHA-256 of the settings.
    """
    digest = hashlib.sha256("\n".join(map(str, settings)).encode()).digest()
    return torch.tensor(list(digest), dtype=torch.uint8)
