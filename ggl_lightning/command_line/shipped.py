"""The configurations that come with the package, and ``--config`` that finds them by name."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ActionConfigFile  # type: ignore[attr-defined]

from ggl_lightning.command_line.messages import nearest, suggestion
from ggl_lightning.command_line.refusal import Refusal
from ggl_lightning.command_line.yaml_text import read_yaml
from ggl_lightning.errors import UserError

# In the sources a link to the folder beside the package.
FOLDER = Path(__file__).parents[1] / "configs"
_SUFFIX = ".yaml"


@dataclass(frozen=True)
class ShippedConfigurations:
    """The configurations of one command.

    Attributes:
        kind: Their folder in `FOLDER`: ``audit``, ``gan`` or ``client``.
    """

    kind: str

    @property
    def folder(self) -> Path:
        """Where they are."""
        return FOLDER / self.kind

    def files(self) -> dict[str, Path]:
        """The files by name: the path below the folder, without ``.yaml``."""
        found = sorted(self.folder.rglob(f"*{_SUFFIX}"))
        return {
            path.relative_to(self.folder).as_posix().removesuffix(_SUFFIX): path for path in found
        }

    def path_of(self, given: str) -> str:
        """The path of a configuration.

        Args:
            given: What stands after ``--config``: a path, which wins if there is such a file, a
                name, or a configuration written out as YAML.

        Returns:
            The file's path for a name, and anything else as given.

        Raises:
            UserError: If it is a text that is neither a path nor a name.
        """
        if given == "-" or _is_file(given):
            return given
        files = self.files()
        if given in files:
            return str(files[given])
        if not _is_text(given):
            return given
        names = ", ".join(files)
        near = nearest(Path(given).name.removesuffix(_SUFFIX), files)
        problem = "it is a folder" if _is_folder(given) else "there is no such file"
        raise UserError(
            f"--config is {given!r}: {problem}, and the configurations that come with "
            f"this command are {names}.{suggestion(near)}"
        )

    def listing(self) -> str:
        """A line for each: its name and what its first line says; at last where they are."""
        files = self.files()
        width = max(map(len, files), default=0)
        lines = [f"{name:<{width}}  {_first_line(path)}" for name, path in files.items()]
        return "\n".join([*lines, f"Files: {self.folder.resolve()}"])


def _is_file(given: str) -> bool:
    """Whether there is something to read; also where it may not be read, which is told later."""
    try:
        path = Path(given).expanduser()
        return path.exists() and not path.is_dir()
    except PermissionError:
        return True
    except (OSError, RuntimeError):  # no name of a file, or of nobody's home
        return False


def _is_folder(given: str) -> bool:
    return os.path.isdir(os.path.expanduser(given))  # noqa: PTH111, PTH112 - raise nothing


def _is_text(given: str) -> bool:
    """Whether it is neither settings by name nor an attempt at them."""
    try:
        return isinstance(read_yaml(given), str)
    except (yaml.YAMLError, Refusal):
        return False


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8") as lines:
        return lines.readline().removeprefix("#").strip()


class ConfigurationAction(ActionConfigFile):
    """``--config`` with a path or a name.

    Args:
        shipped: What is found by name.
        **kwargs: As for any action.
    """

    def __init__(self, shipped: ShippedConfigurations, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._shipped = shipped

    def __call__(
        self, parser: Any, cfg: Any, values: Any, option_string: str | None = None
    ) -> None:
        """Reads the configuration.

        Raises:
            UserError: If there is none.
        """
        super().__call__(parser, cfg, self._shipped.path_of(values), option_string)


class ListAction(argparse.Action):
    """``--list_configs``: prints the configurations there are, and ends the command.

    Args:
        shipped: What is listed.
        **kwargs: As for any action.
    """

    def __init__(self, shipped: ShippedConfigurations, **kwargs: Any) -> None:
        kwargs |= {"dest": argparse.SUPPRESS, "default": argparse.SUPPRESS, "nargs": 0}
        super().__init__(**kwargs)
        self._shipped = shipped

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        """Prints."""
        print(self._shipped.listing())
        sys.exit(0)
