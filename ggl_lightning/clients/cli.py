"""The ``train_client.py`` command: train a client model, or export it from a checkpoint."""

from __future__ import annotations

import sys
from typing import Any

import jsonargparse
from pytorch_lightning import LightningDataModule
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

from ggl_lightning.clients.trained import (
    CHECKPOINT_KEY,
    export_trained_client,
    read_training_checkpoint,
)
from ggl_lightning.clients.training import ClientTraining
from ggl_lightning.errors import UserError


def main(args: list[str]) -> None:
    """Runs ``train_client.py``.

    Args:
        args: ``export ...``, or the arguments of a LightningCLI: ``fit --config FILE ...``.

    Raises:
        UserError: On bad input.
    """
    if args[:1] == ["export"]:
        jsonargparse.auto_cli(export, args=args[1:], as_positional=False)
        return
    ClientCLI(
        ClientTraining,
        LightningDataModule,
        subclass_mode_data=True,
        # The optimiser is one of the module's own arguments.
        auto_configure_optimizers=False,
        seed_everything_default=0,
        # A folder of an earlier run is never overwritten: loggers number their versions.
        save_config_kwargs={"overwrite": False},
        # LightningCLI warns when it is given arguments while the process has some too.
        args=None if args == sys.argv[1:] else args,
    )


def export(ckpt: str, output: str, provenance: str = "") -> None:
    """Writes a trained client model as a bare safetensors file.

    Args:
        ckpt: Checkpoint of ``train_client.py fit``.
        output: File to write, ``*.safetensors``.
        provenance: Free text kept in the file: data, command and seed of the training.
    """
    metadata = export_trained_client(ckpt, output, provenance)
    accuracy = metadata["val_accuracy"]
    validated = (
        "not validated: the checkpoint was written between validations"
        if accuracy is None
        else f"validated accuracy {accuracy:.4f}"
    )
    print(f"{output}: {metadata['class_path']}, epoch {metadata['epoch']}, {validated}")


class ClientCLI(LightningCLI):
    """LightningCLI that refuses to resume with other settings than the checkpoint's."""

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Checks the checkpoint to resume from before anything is built.

        Lightning restores the optimiser from it, learning rate included: training on with other
        settings would do something else than the user asked for.

        Raises:
            UserError: If it is not a checkpoint of client training, or a setting differs.
        """
        super().parse_arguments(parser, args)
        settings = self.config[self.config.subcommand]
        ckpt_path = settings.get("ckpt_path")
        if ckpt_path is None or ckpt_path in {"best", "last", "hpc", "registry"}:
            return
        trained = read_training_checkpoint(ckpt_path)[CHECKPOINT_KEY]["settings"]
        if trained is None:  # it was not trained from the command line
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
        """Has the checkpoints keep the settings of this run."""
        self.model.remember_settings(self.config[self.config.subcommand].model.as_dict())


def _flat(settings: Any, name: str) -> dict[str, Any]:
    """Nested settings by their full names, as on the command line."""
    if not isinstance(settings, dict):
        return {name: settings}
    return {
        key: value
        for inner, nested in settings.items()
        for key, value in _flat(nested, f"{name}.{inner}").items()
    }
