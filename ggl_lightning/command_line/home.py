"""Home folders written as ``~`` in configurations."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from ggl_lightning.user_paths import user_path

_HOME = re.compile(r"(~[^/\s]*)(/.*)", re.DOTALL)


def with_home(value: Any, name: str = "") -> Any:
    """Replaces ``~/`` and ``~user/`` at the start of every text in a configuration.

    Shells replace it in most places; in a file, and after an equals sign, nobody else does. Texts
    that begin otherwise stay as they are: not every text is a path.

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
        return user_path(name, value)
    if isinstance(value, str) and (found := _HOME.fullmatch(value)):
        user_path(name, value)
        home = str(Path(found[1]).expanduser()).rstrip("/")
        return home + found[2]  # as written: it may be no path, or end in a slash
    return value
