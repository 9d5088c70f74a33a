"""A whole number stays one where a fraction is allowed too: one batch is not all of them."""

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
