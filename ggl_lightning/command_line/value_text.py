"""Values as configurations write them, made of the Python that libraries print."""

from __future__ import annotations

import ast
import re
from typing import Any

import yaml

_NAMESPACE = re.compile(r"\bNamespace\(")
_CLOSING = re.compile(r"\)")
_CONTAINER = re.compile(r"[\[{]")


def as_written(text: str) -> str:
    """A text in which every ``Namespace(a=1)``, and a text that is a container, is YAML.

    Args:
        text: What a library says, or the ``repr`` of a value.

    Returns:
        The same with ``{a: 1}`` in their place; what cannot be read stays.
    """
    if _CONTAINER.match(text):
        return _yaml(text) or text
    parts, end = [], 0
    for found in _NAMESPACE.finditer(text):
        if found.start() < end:
            continue  # within the one before
        for place in (each.end() for each in _CLOSING.finditer(text, found.end())):
            written = _yaml(text[found.start() : place])
            if written is not None:  # and no parenthesis in a quoted text
                parts += [text[end : found.start()], written]
                end = place
                break
    return "".join([*parts, text[end:]])


def _yaml(code: str) -> str | None:
    """Python's notation of a value in YAML's, in one line; None if it is no such notation."""
    try:
        value = _value(ast.parse(code, mode="eval").body)
        text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6)
    except (SyntaxError, ValueError, yaml.YAMLError):
        return None
    return text.removesuffix("...\n").strip()


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id == "Namespace":
            return {each.arg: _value(each.value) for each in node.keywords}
        return ast.unparse(node)
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {_value(key): _value(value) for key, value in pairs if key is not None}
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(each) for each in node.elts]
    return ast.literal_eval(node)
