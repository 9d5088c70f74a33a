"""Results of one or several runs, without duplicates, and the controls that belong to each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from ggl_lightning.audit.plan.controls import bound, role_of
from ggl_lightning.audit.plan.roles import ATTACK, Role
from ggl_lightning.audit.results.row import is_member
from ggl_lightning.audit.results.schema import Row, is_done
from ggl_lightning.audit.results.values import image_of
from ggl_lightning.errors import UserError

Pair: TypeAlias = tuple[str, str]
"""Names of a defense and an attack."""


class ResultIndex:
    """The cases of all runs, by what they are of.

    A case that several runs hold counts once: one that is done rather than a failed one, else the
    first.

    Args:
        rows: Results; those without a role are attacks.
        utility_rows: What the defenses cost.

    Raises:
        UserError: If one name stands for different settings.
    """

    def __init__(self, rows: Sequence[Row], utility_rows: Sequence[Row] = ()) -> None:
        _check_names([*rows, *utility_rows], "defense", lambda row: row.get("defense_parameters"))
        _check_names(rows, "attack", _attack_settings)
        self._cases = _without_duplicates(rows, _identity)
        self._utility = _without_duplicates(utility_rows, lambda row: (row["defense"], row["seed"]))
        self._roles = {_role(row) for row in self._cases.values()}
        self.groups: dict[Pair, list[Row]] = {}
        for row in self._cases.values():
            if _role(row) == ATTACK.name:
                self.groups.setdefault((row["defense"], row["attack"]), []).append(row)

    def has(self, role: Role) -> bool:
        """Whether any case has a role."""
        return role.name in self._roles

    def control(self, role: Role, row: Row) -> Row | None:
        """The finished control of an attack's case, if there is one.

        Args:
            role: The control's role; it is matched on image and seed, and on defense and attack as
                far as its cases have them.
            row: The attack's case.
        """
        found = self._cases.get(_identity(row, role))
        if found is None and role == bound() and is_member(row):
            # No member can do better than the attack that it belongs to.
            owner = {**row, "attack": row["attack"].partition("/")[0]}
            found = self._cases.get(_identity(owner, role))
        return found if found is not None and is_done(found) else None

    def utility(self, defense: str) -> list[Row]:
        """The trainings under a defense, failed ones included."""
        return [row for row in self._utility.values() if row["defense"] == defense]


def why_missing(cases: list[Row], name: str, otherwise: str = "the results hold no value") -> str:
    """Why none of some cases has a number.

    Args:
        cases: The cases, at least one.
        name: The number's name in results.
        otherwise: The reason if the results give none.
    """
    done = [row for row in cases if is_done(row)]
    if not done:
        return "the only case failed" if len(cases) == 1 else f"all {len(cases)} cases failed"
    given = [(row.get("missing_metrics") or {}).get(name) for row in done]
    return "; ".join(dict.fromkeys(reason for reason in given if reason)) or otherwise


def _role(row: Row) -> str:
    return row.get("role") or ATTACK.name


def _identity(row: Row, role: Role | None = None) -> tuple[Any, ...]:
    """What a case is of; with a role, what the case in that role is of that belongs to it."""
    role = role_of(_role(row)) if role is None else role
    return role.name, image_of(row), *role.names(row["defense"], row["attack"]), row["seed"]


def _without_duplicates(rows: Iterable[Row], identity: Any) -> dict[Any, Row]:
    kept: dict[Any, Row] = {}
    for row in rows:
        same = kept.setdefault(identity(row), row)
        if same is row:
            continue
        if same.get("key") != row.get("key"):
            raise UserError(
                f"Two results are called {row.get('name')!r} but were run with different settings: "
                "they cannot be told apart in one table. Give the defense or the attack another "
                "name in one of the runs."
            )
        if is_done(row) and not is_done(same):
            kept[identity(row)] = row
    return kept


def _check_names(rows: Iterable[Row], what: str, settings: Any) -> None:
    known: dict[str, str] = {}
    for row in rows:
        name, found = row.get(what), settings(row)
        if not name or not found or _role(row) != ATTACK.name:
            continue
        text = json.dumps(found, sort_keys=True)
        if known.setdefault(name, text) != text:
            raise UserError(
                f"The {what} {name!r} is {known[name]} in one result and {text} in another: they "
                f"cannot be averaged. Give the {what} another name in one of the runs."
            )


def _attack_settings(row: Row) -> Any:
    return (row.get("details") or {}).get("attack")
