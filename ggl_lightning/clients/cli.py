"""The command that trains client models: train a client model, or export it from a checkpoint."""

from __future__ import annotations

from typing import Any

from ggl_lightning.clients.trained import (
    CHECKPOINT_KEY,
    export_trained_client,
    read_training_checkpoint,
)
from ggl_lightning.clients.training import ClientTraining
from ggl_lightning.command_line.shipped import ShippedConfigurations
from ggl_lightning.training_cli import TrainingCLI, run_training_command


def main(args: list[str]) -> int:
    """Trains a client model, or exports it.

    Args:
        args: ``export ...``, or the arguments of a LightningCLI: ``fit --config FILE ...``.

    Returns:
        The exit code: 0, or 143 or 130 if the training was interrupted.

    Raises:
        UserError: On bad input.
    """
    return run_training_command(
        ClientCLI,
        ClientTraining,
        export,
        args,
        "Lower the optimiser's learning rate, model.optimizer.init_args.lr.",
    )


def export(ckpt: str, output: str, provenance: str = "") -> None:
    """Writes a trained client model as a bare safetensors file.

    Args:
        ckpt: Checkpoint of a training of this command.
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


class ClientCLI(TrainingCLI):
    """`TrainingCLI` whose checkpoints keep the settings of the run."""

    shipped = ShippedConfigurations("client")

    def trained_settings(self, ckpt_path: str) -> dict[str, Any] | None:
        """See `TrainingCLI.trained_settings`."""
        return read_training_checkpoint(ckpt_path)[CHECKPOINT_KEY]["settings"]

    def before_fit(self) -> None:
        """Has the checkpoints keep the settings of this run."""
        super().before_fit()
        self.model.remember_settings(self.plain_settings()["model"])
