"""The command line: a client model really learns, and its accuracy travels with its weights."""

from pathlib import Path

import pytest
import torch
from pytorch_lightning import Trainer
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from ggl_lightning.cli import run_command
from ggl_lightning.clients import MLP, load_trained_client
from ggl_lightning.clients.cli import main
from ggl_lightning.clients.training import ClientTraining
from ggl_lightning.seeding import seeded
from tests.clients.tiny_task import BrightOrDark, bright_or_dark
from tests.forks import REPOSITORY, Command

CONFIG = """
seed_everything: 1
model:
  client_model:
    class_path: ggl_lightning.clients.MLP
    init_args: {num_classes: 2, image_size: 8, width: 8, hidden_layers: 1}
  optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.08}}
  lr_scheduler: {class_path: torch.optim.lr_scheduler.StepLR, init_args: {step_size: 1, gamma: 0.5}}
data: {class_path: tests.clients.tiny_task.BrightOrDark}
trainer:
  accelerator: cpu
  max_epochs: 2
  enable_progress_bar: false
  enable_model_summary: false
  log_every_n_steps: 4
  logger:
    class_path: pytorch_lightning.loggers.CSVLogger
    init_args: {save_dir: FOLDER, name: run}
  callbacks:
    - class_path: pytorch_lightning.callbacks.ModelCheckpoint
      init_args: {filename: last, every_n_epochs: 1, save_on_train_epoch_end: true,
                  save_on_exception: true, enable_version_counter: false}
    - class_path: pytorch_lightning.callbacks.ModelCheckpoint
      init_args: {filename: best, monitor: val/accuracy, mode: max, enable_version_counter: false}
"""


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.replace("FOLDER", str(tmp_path)))
    return path


def accuracy(model: nn.Module, count: int = 100) -> float:
    images, labels = bright_or_dark(count, seed=1).tensors
    with torch.no_grad():
        return (model.eval()(images).argmax(dim=1) == labels).double().mean().item()


def test_train_export_load_resume(tmp_path, config, capsys):
    code, _, errors = Command("train_client.py", "fit", "--config", str(config)).end()
    assert code == 0, errors

    best = tmp_path / "run/version_0/checkpoints/best.ckpt"
    output = tmp_path / "out/client.safetensors"
    arguments = ["export", f"--ckpt={best}", f"--output={output}", "--provenance=a test"]
    assert run_command(main, arguments) == 0
    printed = capsys.readouterr().out

    model = MLP(2, 8, 8, 1)
    metadata = load_trained_client(model, output)
    # The stored accuracy is the one of these very weights on the validation images.
    assert metadata["val_accuracy"] == pytest.approx(accuracy(model), abs=1e-6)
    assert 0.8 < metadata["val_accuracy"] < 1
    assert f"validated accuracy {metadata['val_accuracy']:.4f}" in printed
    assert metadata["class_path"] == "ggl_lightning.clients.mlp.MLP"
    assert metadata["provenance"] == "a test"

    from_checkpoint = MLP(2, 8, 8, 1)
    assert load_trained_client(from_checkpoint, best) == {**metadata, "provenance": None}
    for name, tensor in from_checkpoint.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])

    last = tmp_path / "run/version_0/checkpoints/last.ckpt"
    resume = ["fit", f"--config={config}", f"--ckpt_path={last}"]
    assert run_command(main, [*resume, "--model.optimizer.init_args.lr=0.5"]) == 2
    assert (
        "model.optimizer.init_args.lr is 0.5, but the checkpoint to resume from was trained with "
        "0.08" in capsys.readouterr().err
    )
    assert run_command(main, [*resume, "--trainer.max_epochs=3"]) == 0, capsys.readouterr().err
    resumed = torch.load(tmp_path / "run/version_1/checkpoints/last.ckpt", weights_only=True)
    assert resumed["epoch"] == 2
    assert resumed["global_step"] == 3 * 8
    # Two epochs of the schedule were behind it.
    assert resumed["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(0.08 / 8)


def test_one_epoch_equals_a_plain_loop():
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    images, labels = bright_or_dark(32, seed=0).tensors
    with seeded(0):
        module = ClientTraining(
            lambda: MLP(2, 8, 4, 1), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)
        )
    trainer.fit(module, DataLoader(TensorDataset(images, labels), 8))

    with seeded(0):
        model = MLP(2, 8, 4, 1)
    momentum = [torch.zeros_like(parameter) for parameter in model.parameters()]
    for start in range(0, 32, 8):
        loss = F.cross_entropy(model(images[start : start + 8]), labels[start : start + 8])
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient, m in zip(model.parameters(), gradients, momentum, strict=True):
                m.mul_(0.9).add_(gradient)
                parameter.sub_(0.1 * m)
    for trained, expected in zip(module.client_model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(trained, expected)


@pytest.mark.parametrize("epochs", [2, 3])
def test_a_checkpoint_claims_no_accuracy_of_other_weights(tmp_path, capsys, epochs):
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        check_val_every_n_epoch=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(ClientTraining(lambda: MLP(2, 8, 4, 1)), BrightOrDark(train_images=48))
    checkpoint, output = tmp_path / "a.ckpt", tmp_path / "a.safetensors"
    trainer.save_checkpoint(checkpoint)
    assert run_command(main, ["export", f"--ckpt={checkpoint}", f"--output={output}"]) == 0
    model = MLP(2, 8, 4, 1)
    metadata = load_trained_client(model, output)
    if epochs == 2:
        assert metadata["val_accuracy"] == pytest.approx(accuracy(model), abs=1e-6)
        assert "validated accuracy" in capsys.readouterr().out
    else:
        assert metadata["val_accuracy"] is None
        assert "not validated" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.client_model.init_args.num_classes=1"], "set num_classes to at least 2"),
        (["--model.client_model.init_args.image_size=9"], "got (3, 8, 8)"),
        (["--model.optimizer.init_args.lr=1e30", "--trainer.max_epochs=1"], "training diverged"),
        (["--ckpt_path=missing.ckpt"], "does not exist"),
    ],
)
def test_mistakes_end_in_one_line(config, arguments, message, capsys):
    assert run_command(main, ["fit", f"--config={config}", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_another_runs_folder_is_not_written_into(tmp_path, config, capsys):
    finished = tmp_path / "run" / "version_9"
    finished.mkdir(parents=True)
    (finished / "config.yaml").touch()
    arguments = ["fit", f"--config={config}", "--trainer.logger.init_args.version=9"]
    assert run_command(main, arguments) == 2
    assert "holds another run" in capsys.readouterr().err


def test_only_checkpoints_of_client_training_are_exported_or_resumed(tmp_path, config, capsys):
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    path = tmp_path / "other.ckpt"
    for arguments in (
        ["export", f"--ckpt={path}", f"--output={tmp_path}/a.safetensors"],
        ["fit", f"--config={config}", f"--ckpt_path={path}"],
    ):
        assert run_command(main, arguments) == 2
        assert "not a checkpoint of client training" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["celeba32", "synthetic32"])
def test_the_configurations_are_valid_and_say_where_data_is_missing(name, tmp_path, capsys):
    config = REPOSITORY / "configs" / "client" / f"{name}.yaml"
    arguments = ["fit", f"--config={config}", f"--data.init_args.root={tmp_path}"]
    arguments += ["--trainer.logger=false", "--trainer.callbacks=null", "--trainer.accelerator=cpu"]
    assert run_command(main, arguments) == 2
    assert str(tmp_path) in capsys.readouterr().err
