"""YAML as its author sees it: scalars as written, keys in order, repeated ones included."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str, ...]


@dataclass
class Scalar:
    """One value as it is written, quotes included."""

    text: str

    @property
    def quoted(self) -> bool:
        return self.text[:1] in {"'", '"'}

    @property
    def content(self) -> str:
        """What is written, without quotes."""
        if not self.quoted:
            return self.text.strip()
        loaded = yaml.safe_load(self.text)
        return loaded if isinstance(loaded, str) else self.text


@dataclass
class Sequence:
    items: list[Node] = field(default_factory=list)


@dataclass
class Mapping:
    pairs: list[tuple[str, Node]] = field(default_factory=list)

    def position(self, key: str) -> int | None:
        """Where a key stands, the last time it does."""
        found = [i for i, (name, _) in enumerate(self.pairs) if name == key]
        return found[-1] if found else None

    def __getitem__(self, key: str) -> Node:
        return self.pairs[self.position(key)][1]

    def __contains__(self, key: str) -> bool:
        return self.position(key) is not None

    def set(self, key: str, value: Node) -> None:
        position = self.position(key)
        if position is None:
            self.pairs.append((key, value))
        else:
            self.pairs[position] = (self.pairs[position][0], value)


Node = Scalar | Sequence | Mapping


def parse(text: str) -> Node:
    """Reads YAML that has no anchors, tags or repeated keys of different meaning.

    Raises:
        yaml.YAMLError: If it is none.
    """
    composed = yaml.compose(text)
    return Scalar("") if composed is None else _node(composed)


def _node(composed: yaml.Node) -> Node:
    if isinstance(composed, yaml.MappingNode):
        return Mapping([(key.value, _node(value)) for key, value in composed.value])
    if isinstance(composed, yaml.SequenceNode):
        return Sequence([_node(value) for value in composed.value])
    if composed.style in {"'", '"'}:
        return Scalar("'" + composed.value.replace("'", "''") + "'")
    return Scalar(composed.value)


def write(node: Node) -> str:
    """The YAML of a tree, one key or item a line."""
    if isinstance(node, Scalar):
        return node.text + "\n"
    return "".join(f"{line}\n" for line in _lines(node))


def _lines(node: Mapping | Sequence) -> Iterator[str]:
    entries = (
        [(f"{key}:", value) for key, value in node.pairs]
        if isinstance(node, Mapping)
        else [("-", item) for item in node.items]
    )
    for start, value in entries:
        if isinstance(value, Scalar):
            yield f"{start} {value.text}".rstrip(" ")
        elif not (value.pairs if isinstance(value, Mapping) else value.items):
            yield f"{start} {'{}' if isinstance(value, Mapping) else '[]'}"
        else:
            yield start
            yield from (f"  {line}" for line in _lines(value))


def at(node: Node, path: Path) -> Node:
    """The node at a path; items of lists are addressed by their position."""
    for step in path:
        node = node.items[int(step)] if isinstance(node, Sequence) else node[step]
    return node


def put(node: Node, path: Path, value: Node) -> None:
    """Sets the value at a path, making mappings on the way."""
    for step in path[:-1]:
        if isinstance(node, Mapping) and (
            step not in node or not isinstance(node[step], Mapping | Sequence)
        ):
            node.set(step, Mapping())
        node = at(node, (step,))
    if isinstance(node, Sequence):
        node.items[int(path[-1])] = value
    else:
        node.set(path[-1], value)


def paths(node: Node, above: Path = ()) -> Iterator[Path]:
    """The paths of everything below a node, outer ones first."""
    if isinstance(node, Mapping):
        inner = node.pairs
    elif isinstance(node, Sequence):
        inner = [(str(position), item) for position, item in enumerate(node.items)]
    else:
        return
    for step, value in inner:
        yield (*above, step)
        yield from paths(value, (*above, step))


def leaves(node: Node, above: Path = ()) -> Iterator[tuple[Path, Node]]:
    """What a mapping says, by path: everything in it that is no mapping, or an empty one."""
    if not isinstance(node, Mapping) or (not node.pairs and above):
        yield above, node
        return
    for key, value in node.pairs:
        yield from leaves(value, (*above, key))


def repeats_a_key(node: Node) -> bool:
    """Whether a mapping of the tree has a key twice."""
    if isinstance(node, Mapping):
        names = [name for name, _ in node.pairs]
        return len(set(names)) < len(names) or any(repeats_a_key(inner) for _, inner in node.pairs)
    return isinstance(node, Sequence) and any(map(repeats_a_key, node.items))


def duplicate(node: Node) -> Node:
    return copy.deepcopy(node)


_WORDS = {
    True: {"true", "yes", "on", "y"},
    False: {"false", "no", "off", "n"},
    None: {"", "null", "~", "none"},
}


def means(node: Node, value: Any) -> bool:
    """Whether a value is what the author of the YAML wrote.

    A text is the very text, quotes aside; a number has the value its digits have in base ten
    (or behind 0x, 0o and 0b); a class may be named in short.
    """
    if isinstance(value, str) and not isinstance(node, Scalar):
        return _parses_to(value, node)  # a list, say, where any text will do
    if isinstance(node, Mapping):
        if isinstance(value, dict) and "class_path" in value and "class_path" not in node:
            value = value.get("init_args") or {}
        return isinstance(value, dict) and all(
            key in value and means(inner, value[key]) for key, inner in node.pairs
        )
    if isinstance(node, Sequence):
        return (
            isinstance(value, list | tuple)
            and len(value) == len(node.items)
            and all(map(means, node.items, value))
        )
    text = node.content
    if isinstance(value, bool) or value is None:
        return text.strip().lower() in _WORDS[value]
    if isinstance(value, int | float):
        return _same_number(text, value)
    if isinstance(value, str):
        at_home = text.startswith("~/") and value.endswith(text[1:])  # written out
        return value in {text, node.text} or at_home or _names_class(text, value)
    if isinstance(value, dict):  # a class by its name alone
        return _names_class(text, str(value.get("class_path")))
    # A single value where a list is allowed.
    return isinstance(value, list) and len(value) == 1 and means(node, value[0])


def _parses_to(text: str, node: Node) -> bool:
    try:
        return parse(text) == node
    except yaml.YAMLError:
        return False


def _names_class(text: str, value: str) -> bool:
    return "." in value and text.rpartition(".")[2] == value.rpartition(".")[2] != ""


def _same_number(text: str, value: float) -> bool:
    text = text.lower()
    try:
        if text[:2] in {"0x", "0o", "0b"}:
            number: float = int(text, 0)
        elif text.lstrip("+-") in {".nan", ".inf"}:
            number = float(text.replace(".", ""))
        elif text.lstrip("+-").replace("_", "").isdecimal():
            number = int(text)
        else:
            number = float(text)
    except ValueError:
        return False
    return number == value or (math.isnan(number) and math.isnan(value))
