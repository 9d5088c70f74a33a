"""The command that trains priors: fit a prior, or export the generator of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytorch_lightning.cli import LightningArgumentParser

from ggl_lightning.command_line.shipped import ShippedConfigurations
from ggl_lightning.errors import UserError
from ggl_lightning.priors.generator_files import export_generator, load_generator
from ggl_lightning.priors.wgan_gp import WGANGP
from ggl_lightning.training_cli import TrainingCLI, run_training_command
from ggl_lightning.weight_files import read_checkpoint

_IMAGE_SIZE = "data.init_args.image_size"


def main(args: list[str]) -> int:
    """Trains a prior, or exports its generator.

    Args:
        args: ``export ...``, or the arguments of a LightningCLI: ``fit --config FILE ...``.

    Returns:
        The exit code: 0, or 143 or 130 if the training was interrupted.

    Raises:
        UserError: On bad input.
    """
    return run_training_command(PriorCLI, WGANGP, export, args, "Lower model.learning_rate.")


def export(ckpt: str, output: str, provenance: str = "") -> None:
    """Writes a training run's generator as a bare safetensors file.

    Args:
        ckpt: Checkpoint of a training run, or a published generator. The moving average is
            taken if there is one.
        output: File to write, ``*.safetensors``.
        provenance: Free text kept in the file: data, command and seed of the training.
    """
    generator = load_generator(ckpt)
    export_generator(generator, output, provenance)
    classes = "" if generator.num_classes is None else f" of {generator.num_classes} classes"
    print(
        f"{output}: width {generator.width}, latents of {generator.latent_dim}, "
        f"{generator.image_size}x{generator.image_size} images{classes}, "
        f"{Path(output).stat().st_size / 1e6:.1f} MB"
    )


class PriorCLI(TrainingCLI):
    """`TrainingCLI` that gives the data the model's image size, unless it is given its own."""

    shipped = ShippedConfigurations("gan")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Takes the data module's image size from the model's where the user gave none.

        A link between the two would overwrite in silence what the user gave.
        """
        super().parse_arguments(parser, args)
        settings = self.config[self.config.subcommand]
        given = parser.parse_args(args, defaults=False)[self.config.subcommand]
        if (
            _IMAGE_SIZE in settings
            and given.get(_IMAGE_SIZE) is None
            and settings.data.init_args.image_size != settings.model.image_size
        ):
            settings.data.init_args.image_size = settings.model.image_size

    def trained_settings(self, ckpt_path: str) -> dict[str, Any] | None:
        """See `TrainingCLI.trained_settings`."""
        saved = read_checkpoint(ckpt_path)
        if not isinstance(saved, dict) or "batches_seen" not in saved:
            raise UserError(
                f"ckpt_path {str(ckpt_path)!r} is not a checkpoint of prior training: it holds no "
                "optimiser state to resume from."
            )
        return saved.get("hyper_parameters")
