"""What the commands that train share: fit or export, and resuming only what was started."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonargparse
from pytorch_lightning import LightningDataModule, LightningModule
from pytorch_lightning.cli import LightningArgumentParser

from ggl_lightning.command_line import arguments
from ggl_lightning.command_line.lightning_cli import CommandCLI
from ggl_lightning.command_line.parsers import FunctionParser
from ggl_lightning.errors import UserError

_LIGHTNINGS_OWN = {"best", "last", "hpc"}  # values of ckpt_path that are no paths


class TrainingCLI(CommandCLI):
    """LightningCLI that refuses to resume with other settings, or to write over another run."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """What Lightning's Trainer can do here: there are no test images and no predictions."""
        offered = CommandCLI.subcommands()
        return {name: offered[name] for name in ("fit", "validate")}

    def parse_options(
        self, parser: LightningArgumentParser, before: list[str], options: list[arguments.Option]
    ) -> jsonargparse.Namespace:
        """See `CommandCLI.parse_options`.

        Raises:
            UserError: If it is not said first what to do.
        """
        offered = [*self.subcommands(), "export"]
        asks_for_help = any(option.name in {"h", "help"} for option in options)
        if before[:1] not in [[name] for name in offered] and not asks_for_help:
            said = f"{before[0]!r} is none of them" if before else "nothing is"
            raise UserError(
                f"The first argument must say what to do, {', '.join(offered[:-1])} or "
                f"{offered[-1]}, and {said}."
            )
        return super().parse_options(parser, before, options)

    @abstractmethod
    def trained_settings(self, ckpt_path: str) -> dict[str, Any] | None:
        """The settings of the model that a checkpoint was trained with, as in YAML.

        Args:
            ckpt_path: The checkpoint to resume from.

        Returns:
            The settings by name; None if the checkpoint does not say.

        Raises:
            UserError: If it is not a checkpoint of this command's training.
        """

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Checks the checkpoint to resume from before anything is built.

        Lightning would take settings from it in silence, such as a learning rate, and so train
        something else than the user asked for.

        Raises:
            UserError: If it is not a checkpoint of this training, a setting differs, or it would be
                read with more than tensors and plain containers.
        """
        super().parse_arguments(parser, args)
        settings = self.config[self.config.subcommand]
        if settings.get("weights_only") is False:
            raise UserError(
                "weights_only is false: reading the checkpoint would run code from the file, which "
                "is never done. Leave weights_only out."
            )
        settings.weights_only = True  # not left to an environment variable, or to what a URL says
        ckpt_path = settings.get("ckpt_path")
        if ckpt_path is None or ckpt_path in _LIGHTNINGS_OWN:
            return
        trained = self.trained_settings(ckpt_path)
        if trained is None:
            return
        before = _flat(trained, "model")
        for name, asked in _flat(settings.model.as_dict(), "model").items():
            # Not every name is in both: releases of PyTorch add arguments to their optimisers.
            if name in before and before[name] != asked:
                raise UserError(
                    f"{name} is {asked}, but the checkpoint to resume from was trained with "
                    f"{before[name]}. Give the settings it was trained with, e.g. the config.yaml "
                    "beside it."
                )

    def before_fit(self) -> None:
        """Refuses a run folder that cannot be written or that holds another run.

        Raises:
            UserError: In either case.
        """
        folder = self.trainer.log_dir
        if folder is None or not self.trainer.is_global_zero:
            return
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            holds_another_run = (Path(folder) / "config.yaml").exists()
        except OSError as error:
            raise UserError(f"Cannot write into the run folder {folder!r}: {error}.") from error
        if holds_another_run:
            raise UserError(
                f"The run folder {folder!r} holds another run already. Choose another folder or "
                "version in trainer.logger; nothing is overwritten."
            )


def run_training_command(
    cli: type[TrainingCLI],
    module: type[LightningModule],
    export: Callable[..., None],
    args: list[str],
) -> None:
    """Runs a command that trains a module and exports what it trained.

    Args:
        cli: What parses the arguments and runs the Trainer.
        module: What is trained; it configures its own optimisers.
        export: Called for ``export``; its parameters are that command's options.
        args: ``export ...``, or the arguments of a LightningCLI: ``fit --config FILE ...``.

    Raises:
        UserError: On bad input.
    """
    if args[:1] == ["export"]:
        jsonargparse.auto_cli(
            export, args=args[1:], as_positional=False, parser_class=FunctionParser
        )
        return
    cli(
        model_class=module,
        datamodule_class=LightningDataModule,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        seed_everything_default=0,
        # LightningCLI warns when it is given arguments while the process has some too.
        args=None if args == sys.argv[1:] else args,
    )


def _flat(settings: Any, name: str) -> dict[str, Any]:
    """Nested settings by their full names, as on the command line."""
    if isinstance(settings, tuple):
        return {name: list(settings)}  # the parser makes tuples of what checkpoints keep as lists
    if not isinstance(settings, dict):
        return {name: settings}
    return {
        key: value
        for inner, nested in settings.items()
        for key, value in _flat(nested, f"{name}.{inner}").items()
    }
