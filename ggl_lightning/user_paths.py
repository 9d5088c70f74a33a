"""Paths as users write them, with ``~`` for a home folder."""

from __future__ import annotations

from pathlib import Path

from ggl_lightning.errors import UserError


def user_path(name: str, value: str | Path) -> Path:
    """A path with ``~`` or ``~user`` at its start replaced by the home folder.

    Args:
        name: How the user knows the setting.
        value: The path as written.

    Raises:
        UserError: If there is no such user, or no home folder is known.
    """
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        user = Path(value).parts[0]
        raise UserError(
            f"{name} is {str(value)!r}: no home folder of {user} is known. Write the path in full, "
            f"or ./{user} for a folder of that name."
        ) from error


def argument_path(text: str) -> Path:
    """A path that is an argument of a command; otherwise like `user_path`."""
    return user_path("The path", text)
