"""Where attacks that learn first keep what they have learnt."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

FitKey = Mapping[str, Any]
"""What a fit depends on, as JSON has it: attack, client model, procedure, public images, label."""


def fit_name(key: FitKey) -> str:
    """A name of 32 hexadecimal digits for what a fit depends on, the same in every process."""
    text = json.dumps(key, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Fits(ABC):
    """Keeps what attacks have fitted, under what it depends on.

    A fit is made once and serves all updates whose attack asks for the same key. What is kept are
    tensors by name, on the CPU; what can be made quickly from them and the key need not be.
    """

    @abstractmethod
    def get(self, key: FitKey, make: Callable[[], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
        """What is kept under a key; made and kept if there is nothing.

        Args:
            key: What the fit depends on, nothing left out.
            make: Makes it.
        """


class MemoryFits(Fits):
    """Fits that live as long as this object."""

    def __init__(self) -> None:
        self._kept: dict[str, Mapping[str, Tensor]] = {}

    def get(self, key: FitKey, make: Callable[[], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
        """See `Fits.get`."""
        name = fit_name(key)
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]
