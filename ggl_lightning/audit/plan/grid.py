"""The cases of an audit, in the order in which they are run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ggl_lightning.audit.plan.case import CaseSpec, Role


def case_grid(
    batches: Sequence[tuple[int, ...]],
    defenses: Sequence[str],
    attacks: Sequence[str],
    seeds: Sequence[int],
    controls: Iterable[Role],
) -> list[CaseSpec]:
    """All cases: private images x defenses x attacks x seeds, each with its controls.

    Seeds vary slowest, then private images; the attacks on one client come before its controls. A
    run that is cut short has complete comparisons of defenses and attacks on its first images.

    Args:
        batches: Indices of every client's private images.
        defenses: Names.
        attacks: Names.
        seeds: Seeds.
        controls: Which controls to run. ``null_noise`` and ``null_other`` have one case for each
            attack's; ``bound`` one for each attack's name, since it sees no defense; and
            ``null_random`` one for each client.
    """
    wanted = set(controls)
    return [
        spec
        for seed in seeds
        for indices in batches
        for spec in _client_cases(indices, defenses, attacks, seed, wanted)
    ]


def _client_cases(
    indices: tuple[int, ...],
    defenses: Sequence[str],
    attacks: Sequence[str],
    seed: int,
    controls: set[Role],
) -> Iterator[CaseSpec]:
    pairs = [(defense, attack) for defense in defenses for attack in attacks]
    for defense, attack in pairs:
        yield CaseSpec(indices, defense, attack, seed, Role.attack)
    if Role.null_random in controls:
        yield CaseSpec(indices, None, None, seed, Role.null_random)
    if Role.bound in controls:
        for attack in attacks:
            yield CaseSpec(indices, None, attack, seed, Role.bound)
    for role in (Role.null_noise, Role.null_other):
        if role in controls:
            for defense, attack in pairs:
                yield CaseSpec(indices, defense, attack, seed, role)
