"""Help and messages call the commands what they were called when they were started."""

import pytest
import torch

from ggl_lightning.audit.command import main as audit
from ggl_lightning.cli import run_command
from ggl_lightning.clients.cli import main as train_client
from ggl_lightning.data.synthetic.cli import main as faces
from ggl_lightning.priors.cli import main as train_gan

MODULE = "/src/ggl_lightning/data/synthetic/__main__.py"


@pytest.mark.parametrize(
    ("command", "words", "started", "usage"),
    [
        (audit, ["report"], "/env/bin/ggl-audit", "ggl-audit report"),
        (audit, ["report"], "/src/audit.py", "python audit.py report"),
        (audit, [], "/env/bin/ggl-audit", "ggl-audit"),
        (train_gan, [], "/env/bin/ggl-train-gan", "ggl-train-gan"),
        (train_gan, ["fit"], "/env/bin/ggl-train-gan", "ggl-train-gan [options] fit"),
        (train_gan, ["export"], "/env/bin/ggl-train-gan", "ggl-train-gan export"),
        (train_client, ["export"], "train_client.py", "train_client.py export"),
        (faces, [], "/env/bin/ggl-faces", "ggl-faces"),
        (faces, [], MODULE, "python -m ggl_lightning.data.synthetic"),
    ],
)
def test_help(monkeypatch, capsys, command, words, started, usage):
    monkeypatch.setattr("sys.argv", [started, *words, "--help"])
    with pytest.raises(SystemExit) as ended:
        run_command(command)
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {usage} [")


@pytest.mark.parametrize(
    ("started", "named"),
    [
        ("/env/bin/ggl-train-client", "(ggl-train-client fit)"),
        ("train_client.py", "(python train_client.py fit)"),
    ],
)
def test_messages(monkeypatch, capsys, tmp_path, started, named):
    weights = tmp_path / "weights.pt"
    torch.save({"state_dict": {}}, weights)
    monkeypatch.setattr("sys.argv", [started, "export", f"--ckpt={weights}", "--output=x"])
    assert run_command(train_client) == 2
    assert named in capsys.readouterr().err
