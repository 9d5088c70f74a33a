import pytest
import torch
from PIL import Image
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_data import TinyImages

from ggl_lightning.errors import UserError
from ggl_lightning.priors.image_grid import FixedLatentGrid
from ggl_lightning.priors.wgan_gp import WGANGP


def fit(tmp_path, grid: FixedLatentGrid, module: WGANGP) -> TensorBoardLogger:
    logger = TensorBoardLogger(tmp_path)
    Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=logger,
        callbacks=[grid],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        log_every_n_steps=1,
    ).fit(module, TinyImages(n_images=20))
    return logger


def test_grids_and_scalars_can_be_read_back_from_tensorboard(tmp_path):
    grid = FixedLatentGrid(every_n_batches=2, n_images=6, images_per_row=3, write_png=True)
    logger = fit(tmp_path, grid, WGANGP(width=2, n_critic=2))
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    images = events.Images("samples")
    assert [image.step for image in images] == [2, 4, 5]
    # make_grid puts 2 pixels around each image.
    assert (images[0].width, images[0].height) == (3 * 34 + 2, 2 * 34 + 2)
    assert "train/wasserstein" in events.Tags()["scalars"]

    files = sorted((tmp_path / logger.log_dir / "samples").iterdir())
    assert [file.name for file in files] == [f"batch_{n:07d}.png" for n in (2, 4, 5)]
    assert Image.open(files[0]).size == (3 * 34 + 2, 2 * 34 + 2)


def test_the_grid_shows_the_same_latents_and_leaves_the_generator_alone(tmp_path):
    # n_critic 100: the generator does not move, and batch statistics only by the critic's turns.
    module = WGANGP(width=2, n_critic=100, ema_decay=0.9)
    logger = fit(tmp_path, FixedLatentGrid(2, n_images=4, write_png=True), module)
    grids = [file.read_bytes() for file in (tmp_path / logger.log_dir / "samples").iterdir()]
    assert len(grids) == 3
    assert grids[0] == grids[1] == grids[2]
    assert module.generator.block1[1].num_batches_tracked == 5
    assert module.average.module.block1[1].num_batches_tracked == 0
    assert all(network.training for network in (module.generator, module.average))


def test_numbers_must_be_positive():
    with pytest.raises(UserError, match="every_n_batches is 0"):
        FixedLatentGrid(every_n_batches=0)


def test_the_moving_average_is_what_is_shown(tmp_path):
    module = WGANGP(width=2, n_critic=100, ema_decay=0.9)
    with torch.no_grad():
        module.average.module.deconv_out.weight.zero_()
        module.average.module.deconv_out.bias.fill_(100)
    logger = fit(tmp_path, FixedLatentGrid(5, n_images=1, write_png=True), module)
    (file,) = (tmp_path / logger.log_dir / "samples").iterdir()
    assert Image.open(file).getpixel((10, 10)) == (255, 255, 255)
