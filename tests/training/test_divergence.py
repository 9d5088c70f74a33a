"""A training whose weights are no longer numbers: one line, and the last good checkpoint."""

import pytest
import torch

from ggl_lightning.cli import run_command
from ggl_lightning.clients.cli import main as train_client
from ggl_lightning.priors.cli import main as train_gan
from ggl_lightning.training.divergence import is_finite
from tests.training.configurations import write_config

MAIN = {"gan": train_gan, "client": train_client}
TOO_FAST = {"gan": "--model.learning_rate=1e30", "client": "--model.optimizer.init_args.lr=1e38"}
INSIDE = {"gan": "generator.", "client": "client_model."}


@pytest.mark.parametrize("kind", MAIN)
@pytest.mark.parametrize("validates", [True, False])
def test_it_stops_in_one_line_and_keeps_no_checkpoint(kind, validates, tmp_path, capsys):
    config = write_config(kind, tmp_path)
    arguments = ["fit", f"--config={config}", TOO_FAST[kind]]
    arguments += ["--trainer.log_every_n_steps=1000"]
    arguments += [] if validates else ["--trainer.limit_val_batches=0"]
    assert run_command(MAIN[kind], arguments) == 2
    error = capsys.readouterr().err
    assert "The training diverged" in error
    assert error.count("error:") == 1
    assert not list(tmp_path.glob("runs/*/checkpoints/*"))


def test_a_second_epoch_does_not_take_the_place_of_the_first(tmp_path, capsys):
    config = write_config("client", tmp_path)
    arguments = ["fit", f"--config={config}", "--trainer.max_epochs=3"]
    arguments += ["--model.lr_scheduler=torch.optim.lr_scheduler.StepLR"]
    arguments += ["--model.lr_scheduler.step_size=1", "--model.lr_scheduler.gamma=1e38"]
    assert run_command(train_client, arguments) == 2
    last = torch.load(tmp_path / "runs/version_0/checkpoints/last.ckpt", weights_only=True)
    assert last["epoch"] == 0
    assert is_finite(last["state_dict"].values())


@pytest.mark.parametrize("kind", MAIN)
def test_weights_that_are_no_numbers_are_not_exported(kind, tmp_path, capsys):
    config = write_config(kind, tmp_path)
    assert run_command(MAIN[kind], ["fit", f"--config={config}"]) == 0
    path = tmp_path / "runs/version_0/checkpoints/last.ckpt"
    saved = torch.load(path, weights_only=True)
    name = next(name for name in saved["state_dict"] if name.startswith(INSIDE[kind]))
    saved["state_dict"][name].view(-1)[0] = float("nan")
    torch.save(saved, path)
    output = tmp_path / "out.safetensors"
    assert run_command(MAIN[kind], ["export", f"--ckpt={path}", f"--output={output}"]) == 2
    assert "infinite or undefined values" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_value_among_many_is_found(value):
    tensors = [torch.full((3, 4), 1e38), torch.zeros(0), torch.tensor([7])]
    assert is_finite(tensors)
    tensors[0][1, 2] = value
    assert not is_finite(tensors)
