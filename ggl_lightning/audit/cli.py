"""LightningCLI around one audit."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from jsonargparse import Namespace
from pytorch_lightning.cli import LightningArgumentParser, SaveConfigCallback
from pytorch_lightning.loggers import TensorBoardLogger

from ggl_lightning.audit.plan.data_module import AuditDataModule
from ggl_lightning.audit.results.run_folder import RunFolder
from ggl_lightning.audit.run.dry_run import describe_audit
from ggl_lightning.audit.run.module import AuditModule, failure_summary
from ggl_lightning.audit.run.progress import say_on_terminal
from ggl_lightning.audit.shortcuts import (
    DRY_RUN,
    add_shortcuts,
    apply_shortcuts,
    check_said_once,
    parts_of_chosen,
    spell_out,
)
from ggl_lightning.cli import USER_ERROR_EXIT_CODE
from ggl_lightning.command_line import arguments
from ggl_lightning.command_line.lightning_cli import CommandCLI, lightnings_mistakes
from ggl_lightning.command_line.shipped import ShippedConfigurations
from ggl_lightning.disk_errors import is_disk_error
from ggl_lightning.errors import UserError, check_choice
from ggl_lightning.interruption import TERMINATED_EXIT_CODE, run_interruptibly
from ggl_lightning.training.ranks import wait_for_others

FAILED_CASES = 3
"""Exit code: the audit is over, but some of its cases could not be completed."""

_PRINT_CONFIG = "print_config"
_PRINT_FLAGS = {"skip_default": "skip_default", "skip_unset": "skip_none", "skip_null": "skip_none"}
_OPTIMISERS = ("optimizer", "lr_scheduler")  # Lightning's own, which configurations hold as null


class SaveAuditConfig(SaveConfigCallback):
    """Writes the resolved configuration into the run folder, once that is known to be ours."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Too early: the run folder is checked when the test starts."""

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes ``config.yaml``."""
        if trainer.is_global_zero and isinstance(pl_module, AuditModule):
            # A null that overrides a default must not be lost.
            pl_module.run_folder.write_config(self.parser.dump(self.config, skip_none=False))


class AuditCLI(CommandCLI):
    """Shortcuts for the settings users change most, and TensorBoard inside the run folder."""

    shipped = ShippedConfigurations("audit")

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the shortcuts."""
        add_shortcuts(parser)

    def parse_options(
        self, parser: LightningArgumentParser, before: list[str], options: list[arguments.Option]
    ) -> Namespace:
        """Parses, and writes the shortcuts that were given into the nested configuration.

        ``--print_config`` is answered here and not by the parser, which would print the
        configuration before the shortcuts are in it.

        Raises:
            UserError: If two options say the same, or one has no meaning in an audit.
        """
        printed = [option for option in options if option.name == _PRINT_CONFIG]
        wanted = arguments.arranged(
            spell_out([option for option in options if option not in printed])
        )
        for option in wanted:
            if option.name.split(".")[0] in _OPTIMISERS:
                raise _no_optimiser(option.name)
        check_said_once(wanted)
        now, later = parts_of_chosen(wanted)
        # The rest may yet complete it.
        given = parser.parse_args(
            [*before, *arguments.join(now)], defaults=False, _skip_validation=True
        )
        config = parser.parse_args(arguments.join(later), namespace=apply_shortcuts(given))
        self.dry_run, config[DRY_RUN] = bool(config[DRY_RUN]), None
        for name in _OPTIMISERS:
            if config[name] is not None:
                raise _no_optimiser(name)
        if printed:
            print(parser.dump(config, **_flags(printed[-1])), end="")
            sys.exit(0)
        return config

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Logs to TensorBoard in the run folder unless the configuration names a logger."""
        if self.config.trainer.logger in (None, True) and not self.dry_run:
            kwargs["logger"] = TensorBoardLogger(
                self._run_folder.path, name="tensorboard", version=""
            )
        return super().instantiate_trainer(**kwargs)

    @property
    def _run_folder(self) -> RunFolder:
        return RunFolder.of(self.config.model.out_dir, self.config.model.exp_name)


def _no_optimiser(name: str) -> UserError:
    return UserError(f"--{name} has no meaning in an audit, which trains nothing.")


def _flags(printed: arguments.Option) -> dict[str, bool]:
    """What ``--print_config=FLAGS`` asks for, in the parser's words."""
    flags = [flag for flag in (printed.value or "").split(",") if flag]
    for flag in flags:
        check_choice("--print_config", flag, _PRINT_FLAGS)
    return {"skip_none": False} | {_PRINT_FLAGS[flag]: True for flag in flags}


def _test(cli: AuditCLI) -> None:
    """Runs the audit.

    Raises:
        UserError: If the disk is full, read-only or gone.
    """
    try:
        with lightnings_mistakes():
            cli.trainer.test(cli.model, cli.datamodule, verbose=False)
    except OSError as error:
        if not is_disk_error(error):
            raise
        raise UserError(
            f"The run folder {cli.model.run_folder.path} cannot be written to any more "
            f"({error.strerror}). What is finished is kept; when that is mended, the same command "
            "does the rest."
        ) from error


@dataclass(frozen=True)
class Ended:
    """How the audit command ended in one process.

    Attributes:
        exit_code: 0, `FAILED_CASES`, or 143 or 130 if it was interrupted and the same command
            goes on.
        run_folder: Where the results are; None if nothing was to be run.
        is_first: Whether the process answers for all.
    """

    exit_code: int
    run_folder: Path | None = None
    is_first: bool = True


def main(args: list[str]) -> int:
    """Runs the audit that the arguments describe, and prints its table.

    Args:
        args: Command-line arguments, without the program's name.

    Returns:
        The exit code, see `Ended`.
    """
    return run(args).exit_code


def run(args: list[str]) -> Ended:
    """Runs the audit that the arguments describe, prints its table, and says how it ended.

    Args:
        args: Command-line arguments, without the program's name.
    """
    cli = AuditCLI(
        model_class=AuditModule,
        datamodule_class=AuditDataModule,
        args=args,
        run=False,
        save_config_callback=SaveAuditConfig,
        trainer_defaults={
            "inference_mode": False,  # searches need autograd
            "use_distributed_sampler": False,  # it would repeat cases to even out the ranks
            "enable_progress_bar": False,  # searches show their own
            "enable_model_summary": False,
        },
        seed_everything_default=0,
    )
    if cli.trainer.is_global_zero:
        say_on_terminal("What is asked for is checked before anything is run; that takes seconds.")
    try:
        cli.model.admit(cli.trainer, cli.datamodule)
    except UserError:
        if cli.trainer.local_rank == 0:
            raise
        # The first process of this machine says the same.
        return Ended(USER_ERROR_EXIT_CODE, is_first=False)
    if cli.dry_run:
        cli.model.to(cli.trainer.strategy.root_device)
        cli.model.trainer = cli.trainer  # its precision and callbacks belong to the keys
        print(describe_audit(cli.model, cli.datamodule))
        return Ended(0, is_first=cli.trainer.is_global_zero)
    folder = cli.model.run_folder.path
    exit_code = run_interruptibly(lambda: _test(cli))
    if not cli.trainer.is_global_zero:
        # The first process answers for all. Lightning kills it as soon as another one that it has
        # started ends with a code of its own.
        return Ended(0, folder, is_first=False)
    if exit_code == TERMINATED_EXIT_CODE:
        wait_for_others(cli.trainer)
    if exit_code != 0:
        return Ended(exit_code, folder)
    print(cli.model.table)
    if cli.model.failures:
        print(failure_summary(cli.model.failures), file=sys.stderr)
        return Ended(FAILED_CASES, folder)
    return Ended(0, folder)
