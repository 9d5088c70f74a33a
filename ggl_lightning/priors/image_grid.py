"""A picture of the prior while it trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor
from torchvision.utils import make_grid, save_image

from ggl_lightning.errors import check_positive
from ggl_lightning.image_range import to_unit_range
from ggl_lightning.priors.wgan_gp import WGANGP


class FixedLatentGrid(Callback):
    """Shows what the same latents become, every N batches and when training ends.

    The grid goes to every TensorBoard logger as ``samples``, and optionally to PNG files in the
    run's folder: ``samples/batch_0000500.png``. Of a conditional prior each row is a class, from
    the first on, and each column a latent.

    Args:
        every_n_batches: Batches between two grids.
        n_images: Images in the grid; each is a latent of its own, unless the prior is conditional.
        images_per_row: Columns of the grid.
        seed: Seed of the latents.
        write_png: Whether to write PNG files too.

    Raises:
        UserError: If a number is not positive.
    """

    def __init__(
        self,
        every_n_batches: int = 500,
        n_images: int = 64,
        images_per_row: int = 8,
        seed: int = 0,
        write_png: bool = False,
    ) -> None:
        check_positive("every_n_batches", every_n_batches)
        check_positive("n_images", n_images)
        check_positive("images_per_row", images_per_row)
        self.every_n_batches = every_n_batches
        self.n_images = n_images
        self.images_per_row = images_per_row
        self.seed = seed
        self.write_png = write_png
        self._folder: Path | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finds the run's folder, which only all ranks together can tell."""
        folder = Path(trainer.log_dir or trainer.default_root_dir)
        is_trial = trainer.fast_dev_run  # type: ignore[attr-defined]
        self._folder = folder if self.write_png and not is_trial else None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Shows the grid when it is due."""
        assert isinstance(pl_module, WGANGP)
        if pl_module.batches_seen % self.every_n_batches == 0:
            self._show(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Shows the final grid."""
        assert isinstance(pl_module, WGANGP)
        if pl_module.batches_seen % self.every_n_batches != 0:
            self._show(trainer, pl_module)

    def _show(self, trainer: Trainer, module: WGANGP) -> None:
        if not trainer.is_global_zero:
            return
        images = self._generate(module)
        grid = make_grid(images, nrow=min(self.images_per_row, len(images)))
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("samples", grid, module.batches_seen)
        if self._folder is not None:
            folder = self._folder / "samples"
            folder.mkdir(parents=True, exist_ok=True)
            save_image(grid, folder / f"batch_{module.batches_seen:07d}.png")

    def _generate(self, module: WGANGP) -> Tensor:
        noise = torch.Generator().manual_seed(self.seed)
        generator = module.sampling_generator
        labels = None
        if generator.num_classes is None:
            latents = torch.randn(self.n_images, module.latent_dim, generator=noise)
        else:
            columns = min(self.images_per_row, self.n_images)
            rows = min(generator.num_classes, self.n_images // columns)
            latents = torch.randn(columns, module.latent_dim, generator=noise).repeat(rows, 1)
            labels = torch.arange(rows, device=module.device).repeat_interleave(columns)
        was_training = generator.training
        generator.eval()  # else the fixed latents would move batch norm's statistics
        with torch.no_grad():
            images = generator(latents.to(module.device), labels)
        generator.train(was_training)
        return to_unit_range(images.float().cpu())
