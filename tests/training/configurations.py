"""Configurations of both trainings, small enough for tests."""

from pathlib import Path

MODELS = {
    "gan": "{width: 2, critic_width: 2, latent_dim: 4, n_critic: 2, learning_rate: 1.0e-3}",
    "client": """
  client_model: {class_path: ggl_lightning.clients.MLP,
                 init_args: {num_classes: 2, image_size: 32, width: 2, hidden_layers: 1}}
  optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.01}}""",
}

CONFIG = """
seed_everything: 1
model: MODEL
data: {class_path: tests.training.tiny_splits.TinySplits}
trainer:
  accelerator: cpu
  max_epochs: 1
  num_sanity_val_steps: 0
  log_every_n_steps: 2
  enable_progress_bar: false
  enable_model_summary: false
  logger: {class_path: pytorch_lightning.loggers.CSVLogger,
           init_args: {save_dir: FOLDER, name: runs}}
  callbacks:
    - class_path: pytorch_lightning.callbacks.ModelCheckpoint
      init_args: {filename: last, every_n_epochs: 1, save_on_train_epoch_end: true,
                  save_on_exception: true, enable_version_counter: false}
"""
GRID = """
    - class_path: ggl_lightning.priors.image_grid.FixedLatentGrid
      init_args: {every_n_batches: 2, n_images: 1, write_png: true}
"""


def write_config(kind: str, folder: Path) -> Path:
    """Writes a configuration whose runs go into ``folder/runs``.

    Args:
        kind: ``gan`` or ``client``.
        folder: Where to write it, and the runs.
    """
    text = CONFIG.replace("MODEL", MODELS[kind]).replace("FOLDER", str(folder))
    path = folder / f"{kind}.yaml"
    path.write_text(text + (GRID if kind == "gan" else ""))
    return path
