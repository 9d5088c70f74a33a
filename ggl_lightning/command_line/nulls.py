"""Nulls where a value is needed."""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

from ggl_lightning.errors import UserError


def check_nulls(target: Any, arguments: Mapping[str, Any]) -> None:
    """Refuses null for an argument whose type does not allow it.

    The parser takes null within an object's arguments for a value that was left out, whatever
    its type, and hands it to the object.

    Args:
        target: A class or function.
        arguments: What it is called with, by name.

    Raises:
        UserError: If one is None and may not be.
    """
    nulls = [name for name, value in arguments.items() if value is None]
    if not nulls:
        return
    try:
        hints = get_type_hints(target.__init__ if inspect.isclass(target) else target)
        parameters = inspect.signature(target).parameters
    except (NameError, TypeError, ValueError):  # of packages whose types cannot be looked up
        return
    refused = [
        name
        for name in nulls
        if name in hints and name in parameters and not _allows_none(hints[name], parameters[name])
    ]
    if refused:
        raise UserError(*(_problem(target, parameters[name]) for name in refused))


def _allows_none(hint: Any, parameter: inspect.Parameter) -> bool:
    if parameter.default is None or hint in {Any, None, type(None), object}:
        return True
    if get_origin(hint) in {Union, types.UnionType}:
        return any(_allows_none(each, parameter) for each in get_args(hint))
    return not isinstance(get_origin(hint) or hint, type)  # a type variable, say


def _problem(target: Any, parameter: inspect.Parameter) -> str:
    sentence = f"{parameter.name} of {target.__name__} is null: it needs a value"
    if parameter.default is inspect.Parameter.empty:
        return f"{sentence}."
    return f"{sentence}, or may be left out for {parameter.default!r}."
