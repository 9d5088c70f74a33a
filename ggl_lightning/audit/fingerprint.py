"""Names a case by everything that determines its result."""

from __future__ import annotations

import hashlib
import json
from enum import Enum
from functools import lru_cache
from typing import Any

from torch import nn

from ggl_lightning.audit.case import Case, Role
from ggl_lightning.audit.companions import Companions
from ggl_lightning.clients import UpdateRule
from ggl_lightning.tensor_hash import hash_tensors


def describe(component: object) -> Any:
    """The class and public attributes of a defense, attack or search, ready for JSON.

    These classes keep their parameters, and nothing else, in public attributes.
    """
    if isinstance(component, Enum):
        return component.value
    if component is None or isinstance(component, bool | int | float | str):
        return component
    if isinstance(component, list | tuple):
        return [describe(item) for item in component]
    if isinstance(component, dict):
        return {str(key): describe(value) for key, value in component.items()}
    parameters = {
        name: describe(value)
        for name, value in sorted(vars(component).items())
        if not name.startswith("_")
    }
    return {"class": f"{type(component).__module__}.{type(component).__qualname__}", **parameters}


def module_hash(module: nn.Module) -> str:
    """Hash of a module's class and of its whole state."""
    return hashlib.sha256(
        f"{type(module).__qualname__} {hash_tensors(module.state_dict())}".encode()
    ).hexdigest()


class CaseKeys:
    """Keys of cases: the same if and only if the case would be run and scored the same way.

    Args:
        rule: How the client's images become an update.
        client_hash: `module_hash` of the client model.
        prior_hash: `module_hash` of the prior.
        companions: Where decoys and other clients' images come from.
        scoring: What else scores depend on, ready for JSON.
    """

    def __init__(
        self,
        rule: UpdateRule,
        client_hash: str,
        prior_hash: str,
        companions: Companions,
        scoring: dict[str, Any],
    ) -> None:
        self._common = {
            "update_rule": describe(rule),
            "client": client_hash,
            "prior": prior_hash,
            "scoring": scoring,
        }
        self._companions = companions
        self._hash_others = lru_cache(maxsize=8)(self._hash_images)

    def __call__(self, case: Case) -> str:
        """The key of a case's result: 32 hexadecimal digits."""
        spec = case.spec
        determinants = {
            **self._common,
            "name": spec.name,
            "role": spec.role.value,
            "seed": spec.seed,
            "private": hash_tensors({"images": case.images, "labels": case.labels}),
            "decoys": self._companions.decoy_indices(spec.indices[0]),
            "defense": describe(case.defense),
            "attack": describe(case.attack),
        }
        if spec.role is Role.null_other:
            others = self._companions.other_indices(spec.indices, spec.seed)
            determinants["others"] = self._hash_others(tuple(others))
        return key_of(determinants)

    def _hash_images(self, indices: tuple[int, ...]) -> str:
        images, labels = self._companions.read(indices)
        return hash_tensors({"images": images, "labels": labels})


def key_of(determinants: dict[str, Any]) -> str:
    """32 hexadecimal digits that stand for everything that determines a result."""
    return hashlib.sha256(json.dumps(determinants, sort_keys=True).encode()).hexdigest()[:32]
