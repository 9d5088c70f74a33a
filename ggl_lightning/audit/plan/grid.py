"""The cases of an audit, in the order in which they are run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from ggl_lightning.audit.plan.case import CaseSpec
from ggl_lightning.audit.plan.controls import roles
from ggl_lightning.audit.plan.roles import ATTACK, Role


def case_grid(
    batches: Sequence[tuple[int, ...]],
    defenses: Sequence[str],
    attacks: Sequence[str],
    seeds: Sequence[int],
    controls: Collection[str],
    records: Sequence[str] = (),
) -> list[CaseSpec]:
    """All cases: sources x defenses x attacks x seeds, each with its controls.

    Seeds vary slowest, then sources; the attacks on one client come before its controls. A
    run that is cut short has complete comparisons of defenses and attacks on its first images.

    Args:
        batches: Indices of every client's private images.
        defenses: Names.
        attacks: Names.
        seeds: Seeds.
        controls: Roles of the controls to run. One has a case for each attack's case; where it has
            no defense, or no attack, one for all of them (`Role.names`).
        records: Names of recorded updates.
    """
    wanted = [role for role in roles().values() if role.name in controls]
    wanted.sort(key=lambda role: (role.has_defense, role.has_attack))  # the fewest cases first
    sources: list[tuple[tuple[int, ...], str | None]] = [(indices, None) for indices in batches]
    sources += [((), record) for record in records]
    return [
        spec
        for seed in seeds
        for source in sources
        for role in [ATTACK, *wanted]
        for spec in _client_cases(source, defenses, attacks, seed, role)
    ]


def _client_cases(
    source: tuple[tuple[int, ...], str | None],
    defenses: Sequence[str],
    attacks: Sequence[str],
    seed: int,
    role: Role,
) -> Iterator[CaseSpec]:
    indices, record = source
    names = [role.names(defense, attack) for defense in defenses for attack in attacks]
    for defense, attack in dict.fromkeys(names):
        yield CaseSpec(indices, defense, attack, seed, role.name, record)
