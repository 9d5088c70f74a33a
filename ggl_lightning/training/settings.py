"""Settings of two runs, compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def flat(settings: Any, name: str) -> dict[str, Any]:
    """Nested settings by their full names, as on the command line.

    Args:
        settings: Plain containers and values, as YAML has them.
        name: What they are the settings of.
    """
    if isinstance(settings, tuple):
        return {name: list(settings)}  # the parser's tuples are lists in files
    if not isinstance(settings, Mapping):
        return {name: settings}
    return {
        key: value
        for inner, nested in settings.items()
        for key, value in flat(nested, f"{name}.{inner}").items()
    }


def changed(asked: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Settings that differ between two runs.

    A name that only one of them has is no difference: releases of PyTorch add arguments to their
    optimisers. But a class with settings differs from no class, and from a function.

    Args:
        asked: Settings by their full names, from `flat`.
        before: Likewise.

    Yields:
        Name, value asked for, value before.
    """
    for name, value in asked.items():
        if name in before:
            if before[name] != value:
                yield name, value, before[name]
            continue
        outer = name.rpartition(".class_path")[0]
        if outer in before:
            yield outer, f"{value} with settings", before[outer]
        elif (inner := f"{name}.class_path") in before:
            yield name, value, f"{before[inner]} with settings"
