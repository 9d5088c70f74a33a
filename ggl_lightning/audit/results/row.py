"""What a case leaves behind: the row of an audit's results, and what stands beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ggl_lightning.attacks.searches.snapshots import RoundLosses
from ggl_lightning.audit.plan.case import Case
from ggl_lightning.audit.plan.keys import describe
from ggl_lightning.audit.results.schema import Row, Status, found_by_running


def row(case: Case, key: str, setting: Mapping[str, str]) -> Row:
    """A case's row before it is run: what is not known yet is None.

    Args:
        case: The case.
        key: Its key, see `CaseKeys`.
        setting: What all cases of an audit share and a comparison must not mix: hashes of client
            model and prior.
    """
    spec = case.spec
    return {
        "name": spec.name,
        "key": key,
        "role": spec.role,
        "status": Status.done.value,
        "error": None,
        "image_index": spec.indices[0] if spec.indices else None,
        **({} if spec.record is None else {"record": spec.record}),
        "images": len(case.places),
        "defense": spec.defense_name,
        "attack": spec.attack_name,
        "seed": spec.seed,
        "labels": None if case.labels is None else case.labels.tolist(),
        **dict.fromkeys(found_by_running()),
        "defense_parameters": describe(case.defense),
        "defense_guarantee": _guarantee(case),
        "missing_metrics": {},
        "details": {
            "indices": list(spec.indices),
            "attack": describe(case.attack),
            "setting": dict(setting),
            **({} if case.recorded is None else {"record": case.recorded.facts}),
        },
    }


def of_member(result: Row, member: str) -> Row:
    """A row of one of the attacks that an attack is made of, as such.

    Args:
        result: Its row, as if it were a case of its own under the attack's name.
        member: The member's name.
    """
    return {
        **result,
        "name": f"{result['name']}/{member}",
        "key": f"{result['key']}.{member}",
        "attack": f"{result['attack']}/{member}",
    }


def is_member(row: Row) -> bool:
    """Whether a row is of a member of an attack; names that users give hold no slash."""
    return "/" in (row["attack"] or "")


def _guarantee(case: Case) -> dict[str, Any]:
    """What the defense promises; nothing if it is only believed in."""
    return {} if case.defense is None or case.recorded is not None else case.defense.guarantee()


def failed_row(case: Case, key: str, setting: Mapping[str, str], reason: str) -> Row:
    """The row of a case that could not be completed.

    Args:
        case: The case.
        key: Its key.
        setting: See `row`.
        reason: Why, in one line.
    """
    return {**row(case, key, setting), "status": Status.failed.value, "error": reason}


def without_result(name: str) -> Row:
    """What is known of a case or training that should have left a result or failure, and has not.

    Args:
        name: Its name.
    """
    return {
        "name": name,
        "status": Status.failed.value,
        "error": "it left no result, nor the reason why",
    }


@dataclass(frozen=True)
class Outcome:
    """What a completed case leaves behind.

    Attributes:
        result: Its row.
        reconstructions: ``(N, 3, H, W)`` in ``[-1, 1]``, in the private images' order; None if
            there are none.
        artefacts: What else belongs to each image, ``(N, ...)``, by the name its file gets.
        histories: The losses of every round of every trial.
        members: The same of the attacks that the attack is made of, by name.
    """

    result: Row
    reconstructions: Tensor | None
    artefacts: Mapping[str, Tensor]
    histories: Sequence[Sequence[RoundLosses]]
    members: Mapping[str, Outcome] = field(default_factory=dict)
