"""Home folders written as ``~`` in configurations."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from ggl_lightning.errors import UserError

_HOME = re.compile(r"~[^/\s]*/")


def with_home(value: Any, name: str = "") -> Any:
    """Replaces ``~/`` and ``~user/`` at the start of every text in a configuration.

    Shells replace it in most places; in a file, and after an equals sign, nobody else does.

    Args:
        value: A configuration or a part of it; it is not changed.
        name: What it is called, for messages.

    Raises:
        UserError: If there is no such user.
    """
    if isinstance(value, Namespace):
        config = value.clone()
        for key, inner in value.items(branches=True, nested=False):
            config[key] = with_home(inner, f"{name}.{key}" if name else key)
        return config
    if isinstance(value, dict):
        return {key: with_home(inner, f"{name}.{key}") for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(with_home(inner, name) for inner in value)
    if isinstance(value, Path):
        return Path(with_home(str(value), name))
    if isinstance(value, str) and _HOME.match(value):
        found = os.path.expanduser(value)  # noqa: PTH111 - it leaves unknown users as they are
        if found == value:
            user = value.partition("/")[0]
            raise UserError(
                f"{name or 'The path'} is {value!r}, but there is no user {user[1:]!r} with a home "
                "folder: write the folder in full, or ./~ for one of that name."
            )
        return found
    return value


def path(text: str) -> Path:
    """A path given on a command line.

    Args:
        text: As given.

    Raises:
        UserError: If it begins with a user that does not exist.
    """
    return Path(with_home(text))
