"""``precision: auto`` follows the processor, and is written down as what it became."""

import pytest
import yaml

from ggl_lightning.cli import run_command
from ggl_lightning.clients.cli import main as train_client
from ggl_lightning.training import precision
from tests.training.configurations import write_config

X86 = "processor\t: 0\nflags\t\t: fpu avx2 {}\nbugs\t\t: bf16\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd {}\n"


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [
        (X86.format("avx512f"), "32-true"),
        (X86.format("avx512_bf16"), "bf16-mixed"),
        (X86.format("amx_tile amx_bf16"), "bf16-mixed"),
        (ARM.format("bf16"), "bf16-mixed"),
        (ARM.format("crc32"), "32-true"),
        (None, "32-true"),
    ],
)
def test_the_run_uses_and_records_what_the_processor_has(
    cpu, expected, tmp_path, capsys, monkeypatch
):
    info = tmp_path / "cpuinfo"
    if cpu is not None:
        info.write_text(cpu)
    monkeypatch.setattr(precision, "_CPU_INFO", info)
    config = write_config("client", tmp_path)
    arguments = ["fit", f"--config={config}", "--trainer.precision=auto"]
    arguments += ["--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1"]
    assert run_command(train_client, arguments) == 0
    assert f"precision auto: {expected}, because" in capsys.readouterr().err
    kept = yaml.safe_load((tmp_path / "runs/version_0/config.yaml").read_text())
    assert kept["trainer"]["precision"] == expected


def test_an_emulated_precision_is_used_if_it_is_asked_for_and_warned_of(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(precision, "_CPU_INFO", tmp_path / "none")
    config = write_config("client", tmp_path)
    arguments = ["fit", f"--config={config}", "--trainer.precision=bf16-mixed"]
    assert run_command(train_client, [*arguments, "--trainer.limit_train_batches=1"]) == 0
    assert "emulate bfloat16" in capsys.readouterr().err
    kept = yaml.safe_load((tmp_path / "runs/version_0/config.yaml").read_text())
    assert kept["trainer"]["precision"] == "bf16-mixed"
