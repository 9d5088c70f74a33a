"""Names a case by everything that determines its result."""

from __future__ import annotations

import hashlib
import json
from enum import Enum
from typing import Any

from torch import nn

from ggl_lightning.audit.case import Case
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


def case_key(case: Case, rule: UpdateRule, client_hash: str, prior_hash: str) -> str:
    """The key of a case's result: the same if and only if the case would be run the same way.

    Args:
        case: The case.
        rule: How the client's images become an update.
        client_hash: `module_hash` of the client model.
        prior_hash: `module_hash` of the prior.

    Returns:
        32 hexadecimal digits.
    """
    determinants = {
        "private": hash_tensors({"images": case.images, "labels": case.labels}),
        "update_rule": describe(rule),
        "defense": describe(case.defense),
        "attack": describe(case.attack),
        "seed": case.seed,
        "name": case.name,
        "client": client_hash,
        "prior": prior_hash,
    }
    return hashlib.sha256(json.dumps(determinants, sort_keys=True).encode()).hexdigest()[:32]
