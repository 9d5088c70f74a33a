"""Names of tensors as a system's wrappers leave them, matched with the client model's own."""

from __future__ import annotations

from collections.abc import Collection, Iterator

WITHIN = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Parts that compiling, sharding and checkpointing put anywhere in a name."""

BEFORE = ("module", "_module", "_forward_module", "client_model", "model", "net", "network")
"""Parts that wrappers put before every name: `DataParallel`, Opacus, Fabric, a Lightning module."""


def match_names(expected: Collection[str], found: Collection[str]) -> dict[str, str]:
    """Maps found names to expected ones, past the prefixes of wrappers on either side.

    Names that need no mapping keep themselves, whatever they look like. A prefix is taken off only
    where *all* names have it, and only if more names fit afterwards.

    Args:
        expected: Names of the client model.
        found: Names of a recording.

    Returns:
        For each found name the expected one, or itself if there is none.
    """
    best = {name: name for name in found}
    most = sum(name in expected for name in found)
    for theirs in _unwrapped(found):
        for ours in _unwrapped(expected):
            named = {short: name for name, short in ours.items()}
            mapping = {name: named.get(short, name) for name, short in theirs.items()}
            fitting = sum(short in named for short in theirs.values())
            if fitting > most:
                best, most = mapping, fitting
    return best


def _unwrapped(names: Collection[str]) -> Iterator[dict[str, str]]:
    """Names with fewer and fewer of the wrappers' parts; each way keeps them distinct."""
    short = {name: name for name in names}
    yield dict(short)
    inner = {name: _without_inner_parts(name) for name in names}
    if len(set(inner.values())) < len(inner):  # two modules that only their wrappers tell apart
        return
    short = inner
    yield dict(short)
    while short:
        first = {value.partition(".")[0] for value in short.values()}
        if len(first) > 1 or not first <= set(BEFORE) or any("." not in v for v in short.values()):
            return
        short = {name: value.partition(".")[2] for name, value in short.items()}
        yield dict(short)


def _without_inner_parts(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WITHIN)
