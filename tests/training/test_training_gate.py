"""What stands in the way of a training is told before its first file, and all of it at once."""

import pytest
import torch
import yaml

from ggl_lightning.cli import run_command
from ggl_lightning.clients.cli import main as train_client
from ggl_lightning.priors.cli import main as train_gan
from tests.training.configurations import write_config

MAIN = {"gan": train_gan, "client": train_client}
DATA = "--data.init_args."
DDP = ["--trainer.devices=2", "--trainer.strategy=ddp"]


def client_model(path: str) -> list[str]:
    return ["--model.client_model=" + path]


def scheduler(path: str, **settings) -> list[str]:
    return ["--model.lr_scheduler", str({"class_path": path, "init_args": settings})]


CASES = [
    (
        "gan",
        [DATA + "image_size=64"],
        "model.image_size is 32, and data.init_args.image_size is 64",
    ),
    ("gan", [DATA + "batch_size=1"], "batch_size is 1"),
    ("gan", [DATA + "count=25", DATA + "drop_last=false"], "a last batch of 1 of the 25"),
    ("gan", [DATA + "valid=1"], "The valid split has 1 image"),
    ("gan", ["--trainer.gradient_clip_val=1"], "trainer.gradient_clip_val is 1"),
    ("gan", ["--trainer.accumulate_grad_batches=2"], "trainer.accumulate_grad_batches is 2"),
    ("gan", ["--trainer.precision=bf16-true"], "needs float32 weights"),
    ("client", [DATA + "classes=12"], "set num_classes to at least 12"),
    # A class that only the validation has.
    ("client", [DATA + "classes=3", DATA + "count=2", DATA + "batch_size=2"], "at least 3"),
    ("client", [DATA + "image_size=16"], "got (3, 16, 16)"),
    ("client", [DATA + "batch_size=25"], "the train split has only 24 images"),
    ("client", [DATA + "batch_size=13", *DDP], "each of 2 devices has only 12 images"),
    ("client", client_model("tests.training.tiny_splits.Pair"), "returned a tuple"),
    ("client", [*client_model("tests.training.tiny_splits.Unused"), *DDP], "spare.weight"),
    ("client", ["--model.optimizer.init_args.lr=-1"], "Invalid learning rate: -1"),
    ("client", ["--model.optimizer=torch.optim.SparseAdam"], "does not support dense gradients"),
    ("client", scheduler("torch.optim.lr_scheduler.ReduceLROnPlateau"), "what it monitors"),
    (
        "client",
        scheduler("pytorch_lightning.cli.ReduceLROnPlateau", monitor="val_loss"),
        "monitors 'val_loss'",
    ),
    ("client", ["--trainer.callbacks.monitor=val/acc"], "ModelCheckpoint monitors 'val/acc'"),
    ("client", ["--trainer.max_epochs=0"], "trainer.max_epochs is 0"),
    ("client", ["--trainer.limit_train_batches=0"], "nothing would be trained"),
    ("client", ["--trainer.limit_train_batches=0.1"], "less than one of the 6 batches"),
    ("client", ["--trainer.limit_val_batches=0.1"], "less than one of the 2 batches"),
    ("client", ["--trainer.val_check_interval=7"], "an epoch has 6 batches"),
    ("client", ["--trainer.check_val_every_n_epoch=0"], "must be at least 1"),
    ("client", ["--trainer.precision=16-mixed"], "which a CPU does not have"),
    ("client", ["--trainer.precision=16-true"], "half precision"),
    ("client", ["--trainer.accelerator=tpu"], "The trainer refuses its settings"),
    ("client", ["--trainer.strategy=nope"], "invalid strategy name"),
    ("client", ["--trainer.strategy=fsdp"], "requires a GPU"),
    ("client", ["--trainer.strategy=ddp_spawn"], "set it to auto, or to ddp"),
    ("client", ["--trainer.devices=0"], "The trainer refuses its settings"),
    ("client", ["--trainer.logger.init_args.save_dir=/proc/none"], "Cannot write into the run"),
    ("client", ["--ckpt_path=last"], "no run of this configuration"),
    ("client", ["--ckpt_path=hpc"], "ckpt_path is 'hpc'"),
]


@pytest.mark.parametrize(("kind", "arguments", "message"), CASES, ids=lambda value: str(value)[:40])
def test_a_mistake_is_told_before_anything_is_written(kind, arguments, message, tmp_path, capsys):
    config = write_config(kind, tmp_path)
    assert run_command(MAIN[kind], ["fit", f"--config={config}", *arguments]) == 2
    error = capsys.readouterr().err
    assert message.lower() in error.lower()
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == [config]


def test_all_mistakes_are_told_at_once(tmp_path, capsys):
    config = write_config("gan", tmp_path)
    wrong = ["--trainer.strategy=nope", DATA + "batch_size=1", DATA + "image_size=64"]
    assert run_command(train_gan, ["fit", f"--config={config}", *wrong]) == 2
    error = capsys.readouterr().err
    assert "3 things stand in the way" in error
    assert all(word in error for word in ("nope", "batch_size is 1", "image_size is 64"))


def test_a_full_disk_is_told_beforehand(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 100})())
    config = write_config("client", tmp_path)
    assert run_command(train_client, ["fit", f"--config={config}"]) == 2
    assert "make room" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [config]


def test_the_data_takes_the_models_image_size_unless_it_has_its_own(tmp_path):
    config = write_config("gan", tmp_path)
    arguments = ["fit", f"--config={config}", "--model.image_size=64"]
    assert run_command(train_gan, arguments) == 0
    kept = yaml.safe_load((tmp_path / "runs/version_0/config.yaml").read_text())
    assert kept["data"]["init_args"]["image_size"] == 64


def test_without_a_logger_a_second_run_is_told_what_to_change(tmp_path, capsys):
    config = write_config("client", tmp_path)
    folder = f"--trainer.default_root_dir={tmp_path / 'here'}"
    arguments = ["fit", f"--config={config}", "--trainer.logger=false", folder]
    assert run_command(train_client, arguments) == 0
    assert str(tmp_path / "here/checkpoints") in capsys.readouterr().err
    assert run_command(train_client, arguments) == 2
    assert "trainer.default_root_dir" in capsys.readouterr().err


def test_what_is_left_out_is_said(tmp_path, capsys):
    config = write_config("gan", tmp_path)
    arguments = ["fit", f"--config={config}"]
    assert run_command(train_gan, [*arguments, "--trainer.fast_dev_run=true"]) == 0
    assert "It writes nothing" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [config]
    assert run_command(train_gan, [*arguments, "--trainer.limit_train_batches=2"]) == 0
    assert "trains on only 2 batches" in capsys.readouterr().err


def test_the_learning_rate_falls_on_a_plateau_of_what_is_logged(tmp_path):
    config = write_config("client", tmp_path)
    arguments = ["fit", f"--config={config}", "--trainer.max_epochs=3"]
    arguments += scheduler(
        "pytorch_lightning.cli.ReduceLROnPlateau",
        # A threshold that no loss gets under: each epoch but the first is without progress.
        **{"monitor": "val/loss", "patience": 0, "threshold": 1e9, "threshold_mode": "abs"},
    )
    assert run_command(train_client, arguments) == 0
    saved = torch.load(tmp_path / "runs/version_0/checkpoints/last.ckpt", weights_only=True)
    # Written before the third epoch's validation counts.
    assert saved["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(0.01 * 0.1)


@pytest.mark.parametrize(
    "model",
    [
        "tests.training.tiny_splits.tiny_client",
        "{class_path: tests.training.tiny_splits.tiny_client, init_args: {num_classes: 4}}",
    ],
)
def test_a_client_model_that_a_function_builds_is_trained_exported_and_resumed(
    model, tmp_path, capsys
):
    config = write_config("client", tmp_path)
    arguments = ["fit", f"--config={config}", f"--model.client_model={model}"]
    assert run_command(train_client, arguments) == 0, capsys.readouterr().err
    again = [*arguments, "--ckpt_path=last", "--trainer.max_epochs=2"]
    assert run_command(train_client, again) == 0, capsys.readouterr().err
    last = tmp_path / "runs/version_1/checkpoints/last.ckpt"
    assert torch.load(last, weights_only=True)["epoch"] == 1
    export = ["export", f"--ckpt={last}", f"--output={tmp_path / 'client.safetensors'}"]
    assert run_command(train_client, export) == 0
    assert run_command(train_client, [*again, "--trainer.max_epochs=2"]) == 2
    assert "has 2 epochs behind it" in capsys.readouterr().err
    # A model of other settings has no such run.
    others = [*arguments[:2], "--ckpt_path=last", "--trainer.max_epochs=3"]
    assert run_command(train_client, others) == 2
    assert "2 are of other settings" in capsys.readouterr().err


def test_validation_judges_a_checkpoint_and_no_random_weights(tmp_path, capsys):
    config = write_config("client", tmp_path)
    assert run_command(train_client, ["validate", f"--config={config}"]) == 2
    assert "random weights" in capsys.readouterr().err
    assert run_command(train_client, ["fit", f"--config={config}"]) == 0
    assert run_command(train_client, ["validate", f"--config={config}", "--ckpt_path=last"]) == 0
    assert "val/accuracy" in capsys.readouterr().out
