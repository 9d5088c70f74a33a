"""A number stays what it is where other kinds are allowed too: one batch is not all of them."""

import pytest
import yaml

from ggl_lightning.cli import run_command
from ggl_lightning.clients.cli import main


@pytest.mark.parametrize("option", ["limit_train_batches", "limit_val_batches", "overfit_batches"])
@pytest.mark.parametrize(("text", "number"), [("1", 1), ("2", 2), ("1.0", 1.0), ("0.5", 0.5)])
def test_batches_are_counted_or_a_share_as_written(option, text, number, capsys):
    arguments = ["fit", "--config=configs/client/synthetic32.yaml", f"--trainer.{option}={text}"]
    with pytest.raises(SystemExit) as end:
        run_command(main, [*arguments, "--print_config"])
    assert end.value.code == 0
    value = yaml.safe_load(capsys.readouterr().out)["trainer"][option]
    assert value == number
    assert type(value) is type(number)


@pytest.mark.parametrize(
    ("text", "value"),
    [("2", 2), ("0.5", 0.5), ("1e-3", 0.001), ("1.0", 1.0), ("00:00:01:00", "00:00:01:00")],
)
@pytest.mark.parametrize("in_file", [True, False])
def test_an_interval_is_a_number_or_a_time_as_written(text, value, in_file, tmp_path, capsys):
    (tmp_path / "more.yaml").write_text(f"trainer: {{val_check_interval: {text}}}")
    option = f"--trainer.val_check_interval={text}"
    arguments = ["fit", "--config=configs/client/synthetic32.yaml"]
    arguments.append(f"--config={tmp_path}/more.yaml" if in_file else option)
    with pytest.raises(SystemExit) as end:
        run_command(main, [*arguments, "--print_config"])
    assert end.value.code == 0
    read = yaml.safe_load(capsys.readouterr().out)["trainer"]["val_check_interval"]
    assert float(read) == value if isinstance(value, float) else read == value
    assert not isinstance(read, str) or text in {"1e-3", "00:00:01:00"}
