"""Whether an audit is finished: what is missing could be what leaks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from ggl_lightning.audit.limits.checks import Check
from ggl_lightning.audit.plan.roles import ATTACK
from ggl_lightning.audit.results.collect import Results, configured_names
from ggl_lightning.audit.results.row import is_member
from ggl_lightning.audit.results.schema import Row, is_done
from ggl_lightning.audit.results.values import image_of

_MOST_NAMED = 5


def check_complete(results: Results, run_dirs: Sequence[Path], defenses: Collection[str]) -> Check:
    """Checks that all cases of some defenses, and those without a defense, have a result.

    Args:
        results: What was collected of the run folders.
        run_dirs: The run folders.
        defenses: Names of the defenses.
    """
    lacks = list(dict.fromkeys(_lacks(results, run_dirs, defenses)))
    if not lacks:
        return Check("audit", "complete", True, f"{len(results.rows)} cases")
    text = "; ".join(lacks[:_MOST_NAMED])
    if len(lacks) > _MOST_NAMED:
        text += f"; and {len(lacks) - _MOST_NAMED} more"
    return Check("audit", "complete", False, text)


def _lacks(results: Results, run_dirs: Sequence[Path], defenses: Collection[str]) -> Iterator[str]:
    concerned = [row for row in results.rows if row["defense"] in {None, *defenses}]
    for row in concerned:
        if not is_done(row):
            yield f"{row['name']} failed: {row.get('error') or 'no reason was recorded'}"
    for unreadable in results.unreadable:
        yield f"{unreadable.place} cannot be read: {unreadable.reason}"
    for run_dir in run_dirs:
        for folder in sorted((run_dir / "cases").glob("*/")):
            if not any((folder / name).exists() for name in ("result.json", "failure.json")):
                yield f"{folder.name} is not finished"
    attacks = [row for row in concerned if row["role"] == ATTACK.name and not is_member(row)]
    for run in results.runs:
        for defense in configured_names(run.config, "defenses"):
            for attack in configured_names(run.config, "attacks"):
                if defense in defenses and not any(
                    (row["defense"], row["attack"]) == (defense, attack) for row in attacks
                ):
                    yield f"{attack} was configured and not run on {defense}"
    yield from _uneven(results, attacks)


def _uneven(results: Results, attacks: Sequence[Row]) -> Iterator[str]:
    """Groups that lack images which others of the same run have."""
    runs: dict[Path, dict[tuple[str, str], set]] = {}
    for row in attacks:
        groups = runs.setdefault(results.folders[row["key"]].parent.parent, {})
        cases = groups.setdefault((row["defense"], row["attack"]), set())
        cases.add((image_of(row), row["seed"]))
    for groups in runs.values():
        whole = set().union(*groups.values())
        for (defense, attack), cases in groups.items():
            if len(cases) < len(whole):
                yield f"{attack} on {defense} has {len(cases)} of {len(whole)} cases"
