"""LightningCLI in which no option is lost and every mistake ends in one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, cast

import pytorch_lightning as pl
from jsonargparse import Namespace
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.cli import (
    ArgsType,
    LightningArgumentParser,
    LightningCLI,
    _InstantiatorFn,
)

from ggl_lightning.command_line import arguments
from ggl_lightning.command_line.messages import one_line
from ggl_lightning.command_line.nulls import check_nulls
from ggl_lightning.command_line.parsers import ConfigurationParser
from ggl_lightning.command_line.refusal import Refusal, surfacing
from ggl_lightning.command_line.shipped import (
    ConfigurationAction,
    ListAction,
    ShippedConfigurations,
)
from ggl_lightning.command_line.unions import read_numbers_as_such
from ggl_lightning.command_line.value_text import as_written
from ggl_lightning.command_line.yaml_text import use_for_configurations
from ggl_lightning.errors import UserError

_LARGEST_SEED = 2**32 - 1  # what NumPy takes
# What classes of other packages raise when their arguments do not suit them.
_UNSUITABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MisconfigurationException,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
_HARDWARE = ("accelerator", "devices", "strategy", "num_nodes", "precision")
_SLURM_HINT = " Outside of a job, unset SLURM_NTASKS or set SLURM_JOB_NAME=interactive."


@contextmanager
def lightnings_mistakes() -> Iterator[None]:
    """Makes a `UserError` of what Lightning says about its own settings.

    Raises:
        UserError: In place of Lightning's ``MisconfigurationException``.
    """
    try:
        yield
    except MisconfigurationException as error:
        raise UserError(one_line(str(error))) from error


class CommandCLI(LightningCLI):
    """What the commands share that build a model, data and a trainer.

    Attributes:
        shipped: The configurations that ``--config`` finds by name; each command has its own.

    Args:
        **kwargs: As for LightningCLI.

    Raises:
        UserError: If an argument, a configuration file or a setting of Lightning is wrong.
    """

    shipped: ShippedConfigurations

    def __init__(self, **kwargs: Any) -> None:
        use_for_configurations()
        read_numbers_as_such()
        self._building = False
        with surfacing(), lightnings_mistakes():
            super().__init__(parser_class=ConfigurationParser, **kwargs)

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """A parser in which ``--config`` takes names too; Lightning's own takes paths alone."""
        kwargs.setdefault("dump_header", [f"pytorch_lightning=={version('pytorch-lightning')}"])
        parser = self.parser_class(**kwargs)
        parser.add_argument(
            "-c",
            "--config",
            action=ConfigurationAction,
            shipped=self.shipped,
            help="Path to a configuration file, or the name of one that comes with the command.",
        )
        parser.add_argument(
            "--list_configs",
            action=ListAction,
            shipped=self.shipped,
            help="List the configurations that come with the command, and exit.",
        )
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parses the arguments, whatever their order.

        Raises:
            UserError: If one is not known, or has no such value.
        """
        given = sys.argv[1:] if args is None else cast(list[str], args)
        before, options = arguments.split(given)
        self.config = self.parse_options(parser, before, options)
        settings = self.config.get(str(self.config.get("subcommand")), self.config)
        for section in ("model", "data", "trainer"):
            value = settings.get(section)
            if section in settings and not isinstance(value, Namespace):
                said = "null" if value is None else repr(value)
                raise UserError(f"{section} is {said}: expected settings by name.")
        seed = settings.get("seed_everything")
        if not isinstance(seed, bool | None) and not 0 <= seed <= _LARGEST_SEED:
            raise UserError(
                f"seed_everything is {seed}: a seed must not be negative, nor above "
                f"{_LARGEST_SEED}."
            )
        # Refused here if it cannot be written, and not where a run keeps its settings.
        self._parser(self.config.get("subcommand")).dump(settings)

    def parse_options(
        self, parser: LightningArgumentParser, before: list[str], options: list[arguments.Option]
    ) -> Namespace:
        """The configuration that the options describe.

        Args:
            parser: Parses.
            before: What stands before the first option, such as a subcommand.
            options: As given.
        """
        return parser.parse_args([*before, *arguments.join(arguments.arranged(options))])

    def instantiate_classes(self) -> None:
        """Builds model, data and trainer.

        Raises:
            UserError: If a class refuses its arguments.
        """
        self._building = True
        super().instantiate_classes()
        self._building = False

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Builds the trainer.

        Raises:
            UserError: If it refuses its settings.
        """
        settings = self.config.get(str(self.config.get("subcommand")), self.config).trainer
        check_nulls(pl.Trainer, settings.as_dict())
        try:
            return super().instantiate_trainer(**kwargs)
        except _UNSUITABLE as error:
            text = one_line(str(error))
            hint = _SLURM_HINT if "SLURM" in text else ""
            raise UserError(
                f"The trainer refuses its settings{self._hardware()}: {text}{hint}"
            ) from error

    def _hardware(self) -> str:
        """What the configuration says of the hardware, for a message."""
        settings = self.config.get(str(self.config.get("subcommand")), self.config).trainer
        said = [
            f"{name} {as_written(str(settings[name]))}"
            for name in _HARDWARE
            if settings.get(name) not in (None, "auto", 1)
        ]
        return f" ({', '.join(said)})" if said else ""

    def _add_instantiators(self) -> None:
        """Has `built` build everything; model and data as Lightning does."""
        self.parser.add_instantiator(
            _Building(self, "model"), self._model_class, subclasses=self.subclass_mode_model
        )
        self.parser.add_instantiator(
            _Building(self, "data"), self._datamodule_class, subclasses=self.subclass_mode_data
        )
        self.parser.add_instantiator(self._build, object)

    def _build(self, class_type: Any, *args: Any, **kwargs: Any) -> Any:
        return self.built(class_type, kwargs, lambda: class_type(*args, **kwargs))

    def built(self, class_type: Any, settings: dict[str, Any], build: Callable[[], Any]) -> Any:
        """Builds one object of the configuration, at any depth.

        Args:
            class_type: Its class, or a function that returns it.
            settings: Its arguments by name.
            build: Builds it.

        Raises:
            UserError: If the arguments do not suit it.
            Refusal: With the same, while jsonargparse looks on.
        """
        try:
            check_nulls(class_type, settings)
            return build()
        except UserError as error:
            refused = error
        except _UNSUITABLE as error:
            if class_type.__module__.partition(".")[0] == "ggl_lightning":
                raise self._past_unions(error) from None
            name = f"{class_type.__module__}.{class_type.__qualname__}"
            text = one_line(str(error)) or type(error).__name__
            refused = UserError(f"{name} refuses its arguments: {text}")
            refused.__cause__ = error
        raise self._past_unions(refused)

    def _past_unions(self, error: Exception) -> BaseException:
        return Refusal(error) if self._building else error


class _Building(_InstantiatorFn):
    """Lightning's way, which has checkpoints keep the settings; mistakes are told as elsewhere."""

    cli: CommandCLI

    def __call__(
        self, class_type: Any, *args: Any, applied_instantiation_links: dict, **kwargs: Any
    ) -> Any:
        links = {"applied_instantiation_links": applied_instantiation_links}
        build = super().__call__
        return self.cli.built(
            class_type, kwargs, lambda: build(class_type, *args, **links, **kwargs)
        )
