"""Names a case by everything that determines its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from enum import Enum
from typing import Any

from torch import nn

from ggl_lightning.audit.plan.case import Case
from ggl_lightning.audit.plan.companions import Companions
from ggl_lightning.audit.plan.controls import control_of
from ggl_lightning.audit.plan.public_images import PublicImages
from ggl_lightning.clients.procedures import ClientProcedure
from ggl_lightning.identity import (
    class_identity,
    identity,
    is_function,
    public_attributes,
    text_of,
)
from ggl_lightning.tensor_hash import hash_tensors

KEY_VERSION = 2
"""How keys are made. Results whose keys are of another version cannot be told to be the same."""


BATCH_LABELS = 2
"""Of the way in which labels of batches are inferred: results of another are others."""


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
    if is_function(component):
        return text_of(component)
    if isinstance(component, nn.Module):
        return {**class_identity(type(component)), "settings": component.extra_repr()}
    parameters = {name: describe(value) for name, _, value in public_attributes(component)}
    return {**class_identity(type(component)), **parameters}


class CaseKeys:
    """Keys of cases: the same if and only if the case would be run and scored the same way.

    Device, number of threads and versions of libraries change results by rounding; they are not in
    a key, but in ``environment.json``.

    Args:
        procedure: How the client's images become an update.
        client_hash: `identity.module_hash` of the client model.
        prior_hash: `module_hash` of the prior, or what stands for none.
        companions: Where decoys and other clients' images come from.
        common: What else all results depend on, how they are scored for one, ready for JSON.
        public: Images that attacks learn from, open; None for samples of the prior.
        public_for: How many of either an attack has that would use so many.

    Attributes:
        common_hash: Stands for what determines all cases alike.
    """

    def __init__(
        self,
        procedure: ClientProcedure,
        client_hash: str,
        prior_hash: str,
        companions: Companions,
        common: dict[str, Any],
        public: PublicImages | None = None,
        public_for: Callable[[int], int] = lambda count: count,
    ) -> None:
        self._common = {
            "update_rule": identity(procedure),  # as keys have always called it
            "client": client_hash,
            "prior": prior_hash,
            **common,
        }
        self.common_hash = key_of(self._common)
        self._companions = companions
        self._public = public
        self._public_for = public_for
        self._identities: dict[int, tuple[object, Any]] = {}  # by id, with what keeps it

    def __call__(self, case: Case) -> str:
        """The key of a case's result, see `key_of`."""
        spec = case.spec
        determinants = {
            **self._common,
            "name": spec.name,
            "role": spec.role,
            "seed": spec.seed,
            **self._of_source(case),
            "defense": self._identity(case.defense),
            "attack": self._identity(case.attack),
            **self._of_public(case),
            **_of_labels(case),
        }
        control = control_of(spec.role)
        if control is not None:
            determinants |= control.determinants(spec, self._companions)
        return key_of(determinants)

    def _of_source(self, case: Case) -> dict[str, Any]:
        """What determines a result of the private images, or of a recorded update."""
        if case.recorded is not None:
            return case.recorded.determinants()
        assert case.images is not None
        assert case.labels is not None
        return {
            "private": hash_tensors({"images": case.images, "labels": case.labels}),
            "decoys": self._companions.decoys_hash(case.spec.indices[0]),
        }

    def _of_public(self, case: Case) -> dict[str, Any]:
        """The public images of an attack that learns from any."""
        count = 0 if case.attack is None else case.attack.needs_public
        if not count:
            return {}
        taken = self._public_for(count)
        if self._public is not None:
            return {"public": self._public.key(taken)}
        return {"samples": taken} if taken < count else {}

    def _identity(self, component: object) -> Any:
        """The `identity` of a defense or attack, of which there are few in many cases."""
        if id(component) not in self._identities:
            self._identities[id(component)] = (component, identity(component))
        return self._identities[id(component)][1]


def _of_labels(case: Case) -> dict[str, Any]:
    """Which way labels are read off the updates of several images, where they are."""
    if case.attack is None or case.attack.known_label or len(case.places) == 1:
        return {}
    return {"labels": BATCH_LABELS}


def key_of(determinants: dict[str, Any]) -> str:
    """What stands for everything that determines a result: ``v2-`` and 32 hexadecimal digits."""
    digest = hashlib.sha256(json.dumps(determinants, sort_keys=True).encode()).hexdigest()
    return f"v{KEY_VERSION}-{digest[:32]}"


def key_version(key: object) -> int:
    """Of which version a key is: 1 before keys said so."""
    version, dash, _ = str(key).partition("-")
    return int(version[1:]) if dash and version[:1] == "v" and version[1:].isdigit() else 1
