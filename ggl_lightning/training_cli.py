"""What the commands that train share: fit or export, and resuming only what was started."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonargparse
import yaml
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.cli import LightningArgumentParser, SaveConfigCallback

from ggl_lightning.command_line import arguments
from ggl_lightning.command_line.lightning_cli import CommandCLI
from ggl_lightning.command_line.messages import one_line
from ggl_lightning.command_line.parsers import FunctionParser
from ggl_lightning.disk_errors import is_disk_error
from ggl_lightning.errors import UserError
from ggl_lightning.interruption import run_interruptibly
from ggl_lightning.problems import Problems
from ggl_lightning.training.divergence import StopsWhenDiverged
from ggl_lightning.training.gate import (
    Trainable,
    amount_problems,
    folder_problems,
    trainer_problems,
)
from ggl_lightning.training.images import images_of
from ggl_lightning.training.notes import limit_notes, say
from ggl_lightning.training.precision import (
    AUTO,
    TrainingTrainer,
    choose_precision,
    replaced_precision,
    slow_precision,
)
from ggl_lightning.training.ranks import end_as_failed_process, end_processes
from ggl_lightning.training.resuming import NAMES, find_checkpoint, runs_root
from ggl_lightning.training.settings import changed, flat
from ggl_lightning.training.stop_signals import StopSignals, newest_checkpoint
from ggl_lightning.weight_files import differences, read_checkpoint, some
from ggl_lightning.wrapped_weights import tensor_dict


class SaveTrainingConfig(SaveConfigCallback):
    """Keeps a training's settings beside its checkpoints; a validation keeps none."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Writes ``config.yaml`` before a training."""
        if stage == "fit":
            super().setup(trainer, pl_module, stage)


class TrainingCLI(CommandCLI):
    """LightningCLI that trains what can be trained, and writes over no other run.

    It refuses to resume with other settings, and everything that stands in the way of a training
    before its first file.
    """

    _refusal: str | None = None

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """What these modules can do: they have no test or predict step."""
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
        only_asks = any(option.name in {"h", "help", "list_configs"} for option in options)
        if before[:1] not in [[name] for name in offered] and not only_asks:
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
        """Settles what is settled before anything is built: precision and checkpoint.

        Lightning would take settings from the checkpoint in silence, such as a learning rate, and
        so train something else than the user asked for.

        Raises:
            UserError: If there is no such checkpoint, it is not one of this training, a setting
                differs, or it would be read with more than tensors and plain containers.
        """
        super().parse_arguments(parser, args)
        settings = self.config[self.config.subcommand]
        if settings.get("weights_only") is False:
            raise UserError(
                "weights_only is false: reading the checkpoint would run code from the file, which "
                "is never done. Leave weights_only out."
            )
        settings.weights_only = True  # not left to an environment variable, or to what a URL says
        self._settle_precision(settings.trainer)
        ckpt_path = settings.get("ckpt_path")
        if ckpt_path is None:
            if self.config.subcommand == "validate":
                raise UserError(
                    "validate was given no checkpoint, and would judge random weights: name one "
                    "with --ckpt_path."
                )
            return
        if ckpt_path == "hpc":
            raise UserError(
                "ckpt_path is 'hpc': these trainings write no such checkpoints. Give a path, or "
                f"one of {', '.join(NAMES)}."
            )
        if ckpt_path in NAMES:
            asked = self.plain_settings()
            found = find_checkpoint(
                ckpt_path, runs_root(asked["trainer"]), asked["model"], asked["data"]
            )
            say(f"ckpt_path {ckpt_path}: {found}")
            settings.ckpt_path = ckpt_path = str(found)
        trained = self.trained_settings(ckpt_path)
        if trained is None:
            return
        asked = flat(self.plain_settings()["model"], "model")
        for name, value, before in changed(asked, flat(trained, "model")):
            raise UserError(
                f"{name} is {value}, but the checkpoint to resume from was trained with {before}. "
                "Give the settings it was trained with, e.g. the config.yaml beside it."
            )

    def plain_settings(self) -> dict[str, Any]:
        """The command's settings as YAML has them: plain containers and values."""
        parser = self._parser(self.config.subcommand)
        text = parser.dump(self.config[self.config.subcommand], skip_none=False, format="yaml")
        return yaml.safe_load(text)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Builds the Trainer; what Lightning refuses is told by `before_fit`, with all else."""
        try:
            return super().instantiate_trainer(**kwargs)
        except UserError as error:
            self._refusal = str(error)
            return None  # type: ignore[return-value]

    def before_fit(self) -> None:
        """Refuses a training that cannot come to a good end, before its first file.

        Raises:
            UserError: With everything that is wrong.
        """
        trainer: Trainer | None = self.trainer
        settings = self.config[self.config.subcommand]
        problems = Problems()
        if self._refusal is not None:
            problems.add(self._refusal)
        validates = settings.trainer.get("limit_val_batches") != 0
        images = images_of(self.datamodule, trainer, validates, problems)
        problems.extend(amount_problems(settings.trainer, images))
        precision, accelerator = settings.trainer.precision, str(settings.trainer.accelerator)
        if replaced := replaced_precision(precision, accelerator):
            problems.add(replaced)
        if isinstance(self.model, Trainable):
            problems.extend(self.model.problems(images, trainer))
        if trainer is not None:
            problems.extend(trainer_problems(trainer, self.model))
            problems.extend(self._finished_problems(settings))
            problems.extend(self._weight_problems(settings))
            if trainer.is_global_zero:
                problems.extend(folder_problems(trainer, self.model))
        problems.raise_if_any()
        assert trainer is not None
        for note in limit_notes(trainer):
            say(note)

    def before_validate(self) -> None:
        """Refuses a Trainer that could not be built, and weights of another model.

        Raises:
            UserError: In either case.
        """
        if self._refusal is not None:
            raise UserError(self._refusal)
        for problem in self._weight_problems(self.config[self.config.subcommand]):
            raise UserError(problem)

    def fit(self, **settings: Any) -> None:
        """Trains, and ends the other ranks' processes when this one fails.

        Raises:
            UserError: Also for what Lightning calls a misconfiguration, or if the disk is full.
        """
        try:
            self.trainer.fit(**settings)
        except MisconfigurationException as error:
            end_processes(self.trainer)
            raise UserError(one_line(str(error))) from error
        except OSError as error:
            end_processes(self.trainer)
            if not is_disk_error(error):
                raise
            raise UserError(
                f"The run folder cannot be written to any more ({error.strerror}). Checkpoints "
                "from before are kept."
            ) from error
        except RuntimeError:
            end_as_failed_process(self.trainer)
            end_processes(self.trainer)
            raise
        except BaseException:
            end_processes(self.trainer)
            raise

    def after_fit(self) -> None:
        """Says where the checkpoints are."""
        newest = newest_checkpoint(self.trainer)
        if newest is not None:
            say(f"Checkpoints: {newest.parent}")

    def _settle_precision(self, trainer: Any) -> None:
        accelerator = str(trainer.get("accelerator"))
        if trainer.get("precision") == AUTO:
            trainer.precision, reason = choose_precision(accelerator)
            say(f"precision auto: {trainer.precision}, because {reason}.")
        elif warning := slow_precision(trainer.get("precision"), accelerator):
            say(f"warning: {warning}")

    def _finished_problems(self, settings: Any) -> list[str]:
        """What to say of a checkpoint that leaves nothing to train."""
        epochs, ckpt_path = settings.trainer.get("max_epochs"), settings.get("ckpt_path")
        if ckpt_path is None or not isinstance(epochs, int) or epochs <= 0:
            return []
        done = self.finished_epochs(ckpt_path)
        if done < epochs:
            return []
        return [
            f"The checkpoint {ckpt_path!r} has {done} epochs behind it, and trainer.max_epochs is "
            f"{epochs}: raise it to train on."
        ]

    def _weight_problems(self, settings: Any) -> list[str]:
        """What to say of a checkpoint whose weights are not this model's."""
        ckpt_path = settings.get("ckpt_path")
        if ckpt_path is None:
            return []
        found = tensor_dict(read_checkpoint(ckpt_path), "state_dict")
        unfit = differences(self.model.state_dict(), found)
        if not unfit:
            return []
        return [
            f"The weights in {str(ckpt_path)!r} do not fit the model: {some(unfit)}. Give the "
            "settings it was trained with, e.g. the config.yaml beside it."
        ]

    def finished_epochs(self, ckpt_path: str) -> int:
        """How many epochs a checkpoint has behind it.

        Args:
            ckpt_path: A checkpoint of this command's training.
        """
        loops = read_checkpoint(ckpt_path).get("loops", {})
        progress = loops.get("fit_loop", {}).get("epoch_progress", {})
        return int(progress.get("current", {}).get("processed", 0))


def run_training_command(
    cli: type[TrainingCLI],
    module: type[LightningModule],
    export: Callable[..., None],
    args: list[str],
    divergence_advice: str,
) -> int:
    """Runs a command that trains a module and exports what it trained.

    Args:
        cli: What parses the arguments and runs the Trainer.
        module: What is trained; it configures its own optimisers.
        export: Called for ``export``; its parameters are that command's options.
        args: ``export ...``, or the arguments of a LightningCLI: ``fit --config FILE ...``.
        divergence_advice: What to change when a training diverges, as a sentence.

    Returns:
        The exit code: 0, or 143 or 130 if the training was interrupted.

    Raises:
        UserError: On bad input.
    """
    if args[:1] == ["export"]:
        jsonargparse.auto_cli(
            export,
            args=args[1:],
            as_positional=False,
            parser_class=FunctionParser,
            prog=f"{Path(sys.argv[0]).name} export",
        )
        return 0
    signals = StopSignals()
    with signals.installed():
        code = run_interruptibly(
            lambda: cli(
                model_class=module,
                datamodule_class=LightningDataModule,
                save_config_callback=SaveTrainingConfig,
                trainer_class=TrainingTrainer,
                trainer_defaults={"callbacks": [signals, StopsWhenDiverged(divergence_advice)]},
                subclass_mode_data=True,
                auto_configure_optimizers=False,
                seed_everything_default=0,
                args=args,
            ),
            signals.how_to_go_on,
        )
        return 0 if code == 0 else signals.exit_code(code)
