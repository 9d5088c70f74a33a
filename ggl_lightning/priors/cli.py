"""The ``train_gan.py`` command: fit a prior, or export the generator of a finished run."""

from __future__ import annotations

import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonargparse
from pytorch_lightning import LightningDataModule
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

from ggl_lightning.errors import UserError
from ggl_lightning.priors.generator_files import export_generator, load_generator
from ggl_lightning.priors.wgan_gp import WGANGP
from ggl_lightning.weight_files import read_checkpoint


def main(args: list[str]) -> None:
    """Runs ``train_gan.py``.

    Args:
        args: ``export ...``, or the arguments of a LightningCLI: ``fit --config FILE ...``.

    Raises:
        UserError: On bad input.
    """
    if args[:1] == ["export"]:
        jsonargparse.auto_cli(export, args=args[1:], as_positional=False)
        return
    PriorCLI(
        WGANGP,
        LightningDataModule,
        subclass_mode_data=True,
        # The module's own configure_optimizers makes one Adam per network.
        auto_configure_optimizers=False,
        seed_everything_default=0,
        # LightningCLI warns when it is given arguments while the process has some too.
        args=None if args == sys.argv[1:] else args,
    )


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
    print(
        f"{output}: width {generator.width}, latents of {generator.latent_dim}, "
        f"{generator.image_size}x{generator.image_size} images, "
        f"{Path(output).stat().st_size / 1e6:.1f} MB"
    )


class PriorCLI(LightningCLI):
    """LightningCLI that keeps image sizes equal and refuses a resume it would not honour."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Takes the data module's image size from the model's."""
        parser.link_arguments("model.image_size", "data.init_args.image_size")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Checks the checkpoint to resume from before anything is built."""
        super().parse_arguments(parser, args)
        settings = self.config[self.config.subcommand]
        ckpt_path = settings.get("ckpt_path")
        self._model_settings = deepcopy(settings.model.as_dict())
        if ckpt_path is None or ckpt_path in {"best", "last", "hpc", "registry"}:
            return
        saved = read_checkpoint(ckpt_path)
        if not isinstance(saved, dict) or "batches_seen" not in saved:
            raise UserError(
                f"ckpt_path {str(ckpt_path)!r} is not a checkpoint of prior training: it holds no "
                "optimiser state to resume from."
            )

    def before_instantiate_classes(self) -> None:
        """Refuses settings that differ from those of the checkpoint to resume from.

        Lightning has by now replaced them by the checkpoint's; doing so in silence would train
        something else than the user asked for.

        Raises:
            UserError: If a setting of the model differs.
        """
        if self.subcommand is None:
            return
        resumed = self.config[self.subcommand].model.as_dict()
        for name, asked in self._model_settings.items():
            if resumed[name] != asked:
                raise UserError(
                    f"model.{name} is {asked}, but the checkpoint to resume from was trained with "
                    f"{resumed[name]}. Give the settings it was trained with, e.g. the "
                    "config.yaml beside it."
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
