"""Reads run folders, and merges several into one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ggl_lightning.audit.plan.controls import roles
from ggl_lightning.audit.plan.keys import key_version
from ggl_lightning.audit.results.reading import Shared, UnreadableResultError, read_row
from ggl_lightning.audit.results.run_folder import MEMBERS
from ggl_lightning.audit.results.schema import CASE_FIELDS, UTILITY_FIELDS, Row, is_done
from ggl_lightning.audit.results.values import image_of
from ggl_lightning.errors import UserError


@dataclass(frozen=True)
class Unreadable:
    """A result that could not be read.

    Attributes:
        place: Run, kind and folder of the result, as shown to the reader.
        reason: Why.
    """

    place: str
    reason: str


@dataclass(frozen=True)
class Run:
    """One run folder beside its cases.

    Attributes:
        label: How the report calls it: the end of its path that sets it apart.
        config: Text of its ``config.yaml``; None if it has none.
        environment: Content of its ``environment.json``; None if it has none.
        notes: What of these two could not be read, and why.
    """

    label: str
    config: str | None
    environment: Any
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Results:
    """Everything that a report is made from.

    Attributes:
        runs: The run folders.
        rows: The rows of all cases, each once.
        folders: The folder of each case, by its key.
        utility: The rows of all utility runs, each once.
        unreadable: Results that could not be read.
        defenses: Names of the defenses, in the order in which they are shown.
        attacks: Names of the attacks, likewise.
    """

    runs: list[Run]
    rows: list[Row]
    folders: dict[str, Path]
    utility: list[Row]
    unreadable: list[Unreadable]
    defenses: list[str]
    attacks: list[str]


@dataclass
class _Merged:
    """Rows of one kind from several folders."""

    rows: dict[str, Row] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)
    _by_name: dict[str, str] = field(default_factory=dict)

    def add(self, row: Row, folder: Path) -> None:
        name, key = row["name"], row["key"]
        known = self._by_name.setdefault(name, key)
        if known != key and key_version(known) == key_version(key):
            raise UserError(
                f"{self.folders[known]} and {folder} are both called {name!r} but were run with "
                f"different configurations (keys {known} and {key}): they cannot be in one "
                "report. Report them separately, or rename the defense or attack in one run."
            )
        if key not in self.rows or (is_done(row) and not is_done(self.rows[key])):
            self.rows[key], self.folders[key] = row, folder


def collect(run_dirs: Sequence[Path]) -> Results:
    """Reads all results of one or several run folders.

    The same key in two folders is the same case and is kept once, finished before failed.

    Args:
        run_dirs: The run folders.

    Raises:
        UserError: If a folder is missing or holds no result, no result at all can be read, or two
            different cases have the same name.
    """
    if not run_dirs:
        raise UserError("No run folder was given: name at least one.")
    labels = run_labels(run_dirs)
    cases, utility = _Merged(), _Merged()
    shared = Shared()
    unreadable: list[Unreadable] = []
    runs = []
    for run_dir, label in zip(run_dirs, labels, strict=True):
        if not run_dir.is_dir():
            raise UserError(
                f"{run_dir} is not a folder: give the folder of a run, which an audit wrote."
            )
        found = 0
        for kind, fields, merged in (
            ("cases", CASE_FIELDS, cases),
            ("utility", UTILITY_FIELDS, utility),
        ):
            for folder in sorted((run_dir / kind).glob("*/"), key=lambda path: path.name):
                found += _add(folder, fields, shared, merged, f"{label}/{kind}", unreadable)
        if not found:
            raise UserError(
                f"{run_dir} holds no results: a run folder has cases/NAME/result.json for every "
                "finished case. Run the audit first, or give another folder."
            )
        runs.append(_read_run(run_dir, label))
    if not cases.rows and not utility.rows:
        first = unreadable[0]
        raise UserError(
            f"None of the {len(unreadable)} results in {', '.join(map(str, run_dirs))} can be "
            f"read; the first, {first.place}, is {first.reason}. Run the audit again: it redoes "
            "what is damaged."
        )
    _check_versions([*cases.rows.values(), *utility.rows.values()])
    _check_settings(cases.rows.values())
    defenses = _order(runs, "defenses", [*cases.rows.values(), *utility.rows.values()], "defense")
    attacks = _order(runs, "attacks", list(cases.rows.values()), "attack")
    return Results(
        runs=runs,
        rows=sorted(cases.rows.values(), key=lambda row: _place(row, defenses, attacks)),
        folders=cases.folders,
        utility=sorted(
            utility.rows.values(),
            key=lambda row: (defenses.index(row["defense"]), row["seed"], row["name"]),
        ),
        unreadable=unreadable,
        defenses=defenses,
        attacks=attacks,
    )


def _check_versions(rows: Iterable[Row]) -> None:
    """Raises unless all keys are of one version: others cannot be compared."""
    by_version = {key_version(row["key"]): row["name"] for row in rows}
    if len(by_version) > 1:
        old, new = by_version[min(by_version)], by_version[max(by_version)]
        raise UserError(
            f"The result {old!r} was made by an earlier version of ggl_lightning than {new!r}: "
            "whether their configurations agree cannot be told. Report their runs separately."
        )


def _check_settings(rows: Iterable[Row]) -> None:
    """Raises unless all cases had the same client model and prior: averages would mix them."""
    first: Row | None = None
    for row in rows:
        first = row if first is None else first
        ours, theirs = (each.get("details", {}).get("setting", {}) for each in (first, row))
        changed = [what for what in ("client", "prior") if ours.get(what) != theirs.get(what)]
        if changed:
            raise UserError(
                f"The cases {first['name']!r} and {row['name']!r} were run with another "
                f"{' and another '.join(changed)}: they cannot be in one report. Report their runs "
                "separately."
            )


def _add(
    folder: Path,
    fields: dict[str, tuple[type, ...]],
    shared: Shared,
    merged: _Merged,
    where: str,
    unreadable: list[Unreadable],
) -> int:
    """Reads the result or failure in a folder; returns how many there were."""
    file = next(
        (folder / name for name in ("result.json", "failure.json") if (folder / name).exists()),
        None,
    )
    if file is None:  # a case that is under way, or was interrupted
        return 0
    try:
        row = read_row(file, fields, shared)
        members = row.get("members") or ()
        merged.add({name: value for name, value in row.items() if name != "members"}, folder)
        for member in members:
            merged.add(member, folder / MEMBERS / member["name"].rpartition("/")[2])
    except UnreadableResultError as error:
        unreadable.append(Unreadable(f"{where}/{folder.name}/{file.name}", str(error)))
    except OSError as error:
        raise UserError(
            f"{file} cannot be opened ({error.strerror}): check its permissions."
        ) from error
    return 1


def run_labels(run_dirs: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that differ: a report must not depend on where it is built.

    Args:
        run_dirs: The run folders.

    Raises:
        UserError: If a folder is named twice.
    """
    parts = [path.resolve().parts for path in run_dirs]
    if len(set(parts)) < len(parts):
        raise UserError(f"A run folder is named twice: {', '.join(map(str, run_dirs))}.")
    for length in range(1, max(map(len, parts)) + 1):
        labels = ["/".join(part[-length:]) for part in parts]
        if len(set(labels)) == len(labels):
            break
    return labels


def _read_run(run_dir: Path, label: str) -> Run:
    notes = []
    config = environment = None
    try:
        config = (run_dir / "config.yaml").read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        notes.append(f"config.yaml: {_reason(error)}")
    try:
        environment = json.loads((run_dir / "environment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        notes.append(f"environment.json: {_reason(error)}")
    return Run(label, config, environment, tuple(notes))


def _reason(error: OSError | ValueError) -> str:
    """Why a file could not be read, without its path."""
    return str(error.strerror) if isinstance(error, OSError) else f"cannot be read ({error})"


def _order(runs: Sequence[Run], setting: str, rows: Sequence[Row], column: str) -> list[str]:
    """Names in the order of the configurations, then those in no configuration by alphabet."""
    present = {row[column] for row in rows if row[column] is not None}
    configured: dict[str, None] = {}
    for run in runs:
        configured.update(dict.fromkeys(configured_names(run.config, setting)))
    named = [name for name in configured if name in present]
    order = named + sorted(present - set(named) - {each for each in present if "/" in each})
    # Members stand behind what they are members of, in its own order.
    members = [each for each in dict.fromkeys(row[column] for row in rows) if each and "/" in each]
    for member in reversed(members):
        owner = member.partition("/")[0]
        order.insert(order.index(owner) + 1 if owner in order else len(order), member)
    return order


def configured_names(config: str | None, setting: str) -> list[str]:
    """The names that a run's configuration gives its defenses or attacks.

    Args:
        config: Text of its ``config.yaml``; None if it has none.
        setting: ``defenses`` or ``attacks``.
    """
    if config is None:
        return []
    try:
        section = yaml.safe_load(config)
    except yaml.YAMLError:  # its text is shown all the same; only the order is taken from it
        return []
    for name in ("data", setting):
        section = section.get(name) if isinstance(section, Mapping) else None
    return [str(name) for name in section] if isinstance(section, Mapping) else []


def _place(row: Row, defenses: Sequence[str], attacks: Sequence[str]) -> tuple:
    """Where a row stands: images together, and within one the grid's order."""
    return (
        row["seed"],
        *image_of(row)[:2],
        -1 if row["defense"] is None else defenses.index(row["defense"]),
        -1 if row["attack"] is None else attacks.index(row["attack"]),
        list(roles()).index(row["role"]),
        row["name"],
    )
