"""Nothing reaches the network unless the user asks for a named download."""

import socket
import sys
import urllib.request

import pytest
import torch
import yaml
from pytorch_pretrained_biggan import file_utils

import audit as audit_command
from ggl_lightning.audit.cli import main as audit_main
from ggl_lightning.cli import run_command
from ggl_lightning.clients.cli import main as train_client
from ggl_lightning.errors import UserError
from ggl_lightning.priors import BigGANPrior
from ggl_lightning.priors.cli import main as train_gan
from tests.audit.conftest import tiny_config  # noqa: F401 - a fixture

_INTERNET = (socket.AF_INET, socket.AF_INET6)
_LOOK_UPS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}
_SENDS = {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.bind"}

_attempts: list[str] | None = None


class Attempt(BaseException):
    """Not an Exception: nobody may catch it by chance."""


def _watch(event, arguments):
    """Python's own report of what a process does, in C code as well."""
    if _attempts is None:
        return
    reaches_out = event in _LOOK_UPS or event == "urllib.Request"
    if event in _SENDS:
        reaches_out = arguments[0].family in _INTERNET
    if reaches_out:
        _attempts.append(f"{event} {arguments[1:2]}")
        raise Attempt(_attempts[-1])


sys.addaudithook(_watch)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """Every attempt ends the test, at once or, if that is swallowed, at its end."""
    global _attempts
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))  # no cached weights
    _attempts = []
    yield
    attempts, _attempts = _attempts, None
    assert attempts == []


def test_attempts_are_seen(offline):
    for attempt in (
        lambda: socket.create_connection(("127.0.0.1", 9), 1),
        lambda: socket.getaddrinfo("localhost", 80),
        lambda: urllib.request.urlopen("http://127.0.0.1:9/"),
        lambda: torch.hub.load_state_dict_from_url("http://127.0.0.1:9/x.pth"),
    ):
        with pytest.raises(Attempt):
            attempt()
    assert len(_attempts) == 4
    _attempts.clear()


def test_an_audit_with_controls_and_utility_and_its_report(offline, tiny_config, tmp_path):  # noqa: F811
    config = yaml.safe_load(tiny_config.read_text())
    del config["data"]["controls"]
    config["model"]["utility"] = {
        "class_path": "ggl_lightning.federated.FederatedTraining",
        "init_args": {
            "rounds": 1, "clients": 2, "clients_per_round": 2, "images_per_client_update": 1,
        },
    }  # fmt: skip
    tiny_config.write_text(yaml.safe_dump(config))
    arguments = ["--config", str(tiny_config), "--budget", "2"]
    assert run_command(audit_main, [*arguments, "--dry_run"]) == 0
    assert run_command(audit_main, arguments) == 0
    run = tmp_path / "runs" / "tiny"
    report = ["report", str(run), "--output", str(tmp_path / "report")]
    assert run_command(audit_command.main, report) == 0
    assert (tmp_path / "report" / "report.html").exists()


TRAINER = """
trainer:
  accelerator: cpu
  max_epochs: 1
  limit_train_batches: 2
  limit_val_batches: 1
  num_sanity_val_steps: 0
  enable_progress_bar: false
  enable_model_summary: false
  logger:
    class_path: pytorch_lightning.loggers.TensorBoardLogger
    init_args: {save_dir: FOLDER, name: run}
"""
CLIENT = """
model:
  client_model:
    class_path: ggl_lightning.clients.MLP
    init_args: {num_classes: 2, image_size: 8, width: 8, hidden_layers: 1}
data: {class_path: tests.clients.tiny_task.BrightOrDark}
"""
PRIOR = """
model: {width: 2, latent_dim: 4, n_critic: 1}
data: {class_path: tests.priors.tiny_data.TinyImages}
"""


@pytest.mark.parametrize(("main", "config"), [(train_client, CLIENT), (train_gan, PRIOR)])
def test_training_and_exporting(offline, tmp_path, main, config):
    file = tmp_path / "config.yaml"
    file.write_text(config + TRAINER.replace("FOLDER", str(tmp_path)))
    assert run_command(main, ["fit", "--config", str(file)]) == 0
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    output = tmp_path / "out.safetensors"
    export = ["export", "--ckpt", str(checkpoint), "--output", str(output)]
    assert run_command(main, export) == 0
    assert output.exists()


@pytest.mark.parametrize("main", [train_client, train_gan])
@pytest.mark.parametrize("address", ["http://127.0.0.1:9/x.ckpt", "s3://bucket/x", "registry"])
def test_a_checkpoint_is_a_file(offline, tmp_path, main, address, capsys):
    file = tmp_path / "config.yaml"
    file.write_text((CLIENT if main is train_client else PRIOR) + TRAINER)
    assert run_command(main, ["fit", "--config", str(file), "--ckpt_path", address]) == 2
    assert "does not exist or is not a file" in capsys.readouterr().err


def test_a_configuration_is_a_file(offline, capsys):
    for main, before in ((audit_main, []), (train_client, ["fit"]), (train_gan, ["fit"])):
        address = "http://127.0.0.1:9/config.yaml"
        assert run_command(main, [*before, "--config", address]) == 2
        # Nor may a part of it come from elsewhere.
        part = f"--{'model.prior' if main is audit_main else 'data'}=http://127.0.0.1:9/part.yaml"
        assert run_command(main, [*before, part]) == 2


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(file_utils, "PYTORCH_PRETRAINED_BIGGAN_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", ["biggan-deep-128", "biggan-deep-256", "biggan-deep-512"])
def test_a_named_biggan_is_not_downloaded_unasked(offline, empty_cache, name):
    with pytest.raises(UserError, match="nothing is downloaded unasked"):
        BigGANPrior(name)


def test_a_named_biggan_is_downloaded_when_asked(offline, empty_cache):
    with pytest.raises(Attempt):
        BigGANPrior("biggan-deep-128", allow_download=True)
    assert len(_attempts) == 1
    _attempts.clear()
