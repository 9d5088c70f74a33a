"""Trains on two CPU processes and saves what each rank ends with; run by test_wgan_gp_ddp.py."""

import sys

import ggl_lightning  # noqa: F401

# isort: split
import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from reference_training import SEED, SETTINGS
from tiny_data import TinyImages

from ggl_lightning.priors.wgan_gp import WGANGP


class KeepsBatches(Callback):
    def __init__(self) -> None:
        self.parts: list[torch.Tensor] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.parts.append(batch[0])


if __name__ == "__main__":
    torch.set_num_threads(1)
    seed_everything(SEED)
    module = WGANGP(**SETTINGS)
    kept = KeepsBatches()
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        precision="64-true",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        callbacks=[kept],
    )
    trainer.fit(module, TinyImages(n_images=36, batch_size=3))
    result = {
        "parts": kept.parts,
        "state": module.state_dict(),
        "frechet_distance": trainer.callback_metrics["val/frechet_distance"],
    }
    torch.save(result, f"{sys.argv[1]}/rank{trainer.global_rank}.pt")
