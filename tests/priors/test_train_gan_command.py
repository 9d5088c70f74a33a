"""The command line: errors, resuming after SIGTERM, export."""

import signal
import time
from pathlib import Path

import pytest
import torch

from ggl_lightning.cli import run_command
from ggl_lightning.priors.cli import main
from ggl_lightning.priors.generator_files import load_generator, read_metadata
from tests.forks import PATIENCE, REPOSITORY, Command

# 150 batches an epoch, long enough to be interrupted in the middle.
CONFIG = """
seed_everything: 1
model: {width: 2, latent_dim: 4, n_critic: 3, ema_decay: 0.9}
data:
  class_path: tiny_data.TinyImages
  init_args: {n_images: 300, batch_size: 2}
trainer:
  accelerator: cpu
  max_epochs: 1
  limit_val_batches: 4
  num_sanity_val_steps: 0
  enable_progress_bar: false
  enable_model_summary: false
  logger:
    class_path: pytorch_lightning.loggers.TensorBoardLogger
    init_args: {save_dir: FOLDER, name: run}
  callbacks:
    - class_path: ggl_lightning.priors.image_grid.FixedLatentGrid
      init_args: {every_n_batches: 10, n_images: 1, write_png: true}
    - class_path: pytorch_lightning.callbacks.ModelCheckpoint
      init_args: {filename: last, every_n_epochs: 1, save_on_train_epoch_end: true,
                  save_on_exception: true, enable_version_counter: false}
    - class_path: pytorch_lightning.callbacks.ModelCheckpoint
      init_args: {filename: best, monitor: val/frechet_distance, mode: min}
"""


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.replace("FOLDER", str(tmp_path)))
    return path


def wait_for(path: Path, command: Command) -> None:
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert command.poll() is None, command.end()
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


def test_a_run_cut_by_sigterm_goes_on_where_it_was(tmp_path, config, capsys):
    command = Command("train_gan.py", "fit", "--config", str(config))
    wait_for(tmp_path / "run/version_0/samples/batch_0000010.png", command)
    command.send_signal(signal.SIGTERM)
    code, _, error = command.end()
    assert code == 143
    assert "Interrupted. To go on, give the same command with --ckpt_path" in error

    last = tmp_path / "run/version_0/checkpoints/last.ckpt"
    cut = torch.load(last, weights_only=True)
    n_batches = cut["batches_seen"]
    assert 10 <= n_batches < 150  # in mid-epoch
    assert adam_steps(cut) == [n_batches, n_batches // 3]
    assert cut["global_step"] == n_batches + n_batches // 3

    code = run_command(main, ["fit", "--config", str(config), "--ckpt_path", str(last)])
    assert code == 0, capsys.readouterr().err
    folder = tmp_path / "run/version_1"
    done = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    assert done["batches_seen"] == 150  # what was left of the epoch, not another one
    assert adam_steps(done) == [150, 50]
    assert done["global_step"] == 200
    best = torch.load(folder / "checkpoints/best.ckpt", weights_only=True)
    assert best["batches_seen"] == 150
    # The first grid after resuming is the next one due.
    assert min(folder.glob("samples/*.png")).name == f"batch_{(n_batches // 10 + 1) * 10:07d}.png"

    code = run_command(
        main,
        ["export", f"--ckpt={last}", f"--output={tmp_path}/p.safetensors", "--provenance=a test"],
    )
    assert code == 0
    assert "width 2" in capsys.readouterr().out
    weight = load_generator(tmp_path / "p.safetensors").deconv_out.weight
    assert torch.equal(weight, cut["state_dict"]["average.module.deconv_out.weight"])
    assert read_metadata(tmp_path / "p.safetensors")["provenance"] == "a test"

    # Settings that the checkpoint would silently override.
    code = run_command(
        main,
        ["fit", f"--config={config}", f"--ckpt_path={last}", "--model.learning_rate=1e-3"],
    )
    assert code == 2
    assert "model.learning_rate is 0.001" in capsys.readouterr().err


def adam_steps(checkpoint: dict) -> list[int]:
    return [int(state["state"][0]["step"]) for state in checkpoint["optimizer_states"]]


def test_a_checkpoint_that_cannot_be_resumed_from(tmp_path, config, capsys):
    torch.save({"state_dict": {}}, tmp_path / "bare.pt")
    for name, expected in (("none.ckpt", "does not exist"), ("bare.pt", "not a checkpoint of")):
        arguments = ["fit", f"--config={config}", f"--ckpt_path={tmp_path / name}"]
        assert run_command(main, arguments) == 2
        error = capsys.readouterr().err
        assert expected in error
        assert "Traceback" not in error


@pytest.mark.parametrize("name", ["celeba32", "synthetic32"])
def test_the_configurations_are_valid_and_say_where_data_is_missing(name, tmp_path, capsys):
    config = REPOSITORY / "configs" / "gan" / f"{name}.yaml"
    arguments = ["fit", f"--config={config}", f"--data.init_args.root={tmp_path}"]
    arguments += ["--trainer.logger=false", "--trainer.callbacks=null", "--trainer.accelerator=cpu"]
    assert run_command(main, arguments) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_bad_settings_are_one_line(tmp_path, config, capsys):
    (tmp_path / "file").touch()
    finished = tmp_path / "run" / "version_9"
    finished.mkdir(parents=True)
    (finished / "config.yaml").touch()
    for argument, expected in (
        ("--model.width=0", "width is 0"),
        ("--model.ema_decay=1.5", "ema_decay is 1.5"),
        ("--model.betas=[1, 2]", "betas is [1.0, 2.0]"),
        (f"--trainer.logger.init_args.save_dir={tmp_path}/file", "Cannot write into"),
        ("--trainer.logger.init_args.version=9", "holds another run"),
    ):
        assert run_command(main, ["fit", f"--config={config}", argument]) == 2
        error = capsys.readouterr().err
        assert expected in error
        assert "Traceback" not in error


def test_export_of_something_else(tmp_path, capsys):
    arguments = ["export", f"--ckpt={tmp_path}/none.ckpt", f"--output={tmp_path}/p.safetensors"]
    assert run_command(main, arguments) == 2
    assert "does not exist" in capsys.readouterr().err
