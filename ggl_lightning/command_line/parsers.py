"""Parsers that raise a `UserError` with one sentence instead of printing their usage."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

import jsonargparse
from pytorch_lightning.cli import LightningArgumentParser

from ggl_lightning.command_line.home import with_home
from ggl_lightning.command_line.messages import explain
from ggl_lightning.errors import UserError


class PlainParser(argparse.ArgumentParser):
    """`argparse.ArgumentParser` whose mistakes are `UserError`s."""

    def error(self, message: str) -> NoReturn:
        """Raises what is wrong.

        Raises:
            UserError: Always.
        """
        raise UserError(f"{message[:1].upper()}{message[1:]}. See --help for what there is.")


class _OneSentence(jsonargparse.ArgumentParser):
    """What the parsers of configurations share."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def parse_args(self, *args: Any, **kwargs: Any) -> jsonargparse.Namespace:  # type: ignore[override]
        """Parses a command line, with home folders in place of ``~``.

        Raises:
            UserError: If a file it names is not text in UTF-8, or a home folder not there.
        """
        try:
            return with_home(super().parse_args(*args, **kwargs))
        except UnicodeDecodeError as error:
            raise UserError(
                f"A configuration file that the arguments name is not text in UTF-8 "
                f"({error.reason} at byte {error.start}): save it as UTF-8."
            ) from error

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises what is wrong; within a value, as jsonargparse would: another type may fit.

        Raises:
            UserError: If it concerns the whole.
        """
        if not self.exit_on_error:
            super().error(message, ex)
        raise UserError(explain(self, message)) from ex

    def parse_path(self, path: Any, *args: Any, **kwargs: Any) -> jsonargparse.Namespace:
        """Reads a configuration file.

        Raises:
            UserError: If it is not text in UTF-8.
        """
        try:
            return super().parse_path(path, *args, **kwargs)
        except UnicodeDecodeError as error:
            raise UserError(
                f"The configuration file {str(path)!r} is not text in UTF-8 ({error.reason} at "
                f"byte {error.start}): save it as UTF-8."
            ) from error


class FunctionParser(_OneSentence):
    """For the arguments of a function."""


class ConfigurationParser(_OneSentence, LightningArgumentParser):
    """For a LightningCLI."""
