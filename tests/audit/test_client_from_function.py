"""Client models that functions build, as torchvision's do."""

import json

import pytest
import torch
import yaml

from ggl_lightning.audit.cli import main
from ggl_lightning.cli import run_command
from tests.audit.conftest import tiny_settings
from tests.tiny import tiny_client

WITH_ARGUMENTS = {"class_path": "tests.tiny.tiny_client", "init_args": {"num_classes": 2}}


@pytest.fixture
def run(tmp_path):
    """Runs a small audit; returns its exit code and the rows of its results."""

    def run(exp_name, **model):
        settings = tiny_settings(tmp_path / "runs")
        settings["model"] |= {"exp_name": exp_name, **model}
        settings["data"]["idx"] = 0
        settings["data"]["attacks"]["cma"]["init_args"]["budget"] = 1
        config = tmp_path / f"{exp_name}.yaml"
        config.write_text(yaml.safe_dump(settings))
        code = run_command(main, ["--config", str(config)])
        files = (tmp_path / "runs" / exp_name).glob("cases/*/result.json")
        return code, [json.loads(file.read_text()) for file in sorted(files)]

    return run


def test_its_weights_follow_from_the_clients_seed_alone(run):
    of_class = run("class")
    of_function = run("function", client_model="tests.tiny.tiny_client")
    other_seed = run("other", client_model="tests.tiny.tiny_client", client_seed=1)

    assert [code for code, _ in (of_class, of_function, other_seed)] == [0, 0, 0]
    losses = [[row["loss"] for row in rows] for _, rows in (of_class, of_function, other_seed)]
    assert losses[0] == losses[1] != losses[2]


def test_one_that_is_built_before_it_is_seeded_is_refused(run, capsys, tmp_path):
    assert run("built", client_model=WITH_ARGUMENTS) == (2, [])
    assert "a TinyClient that is built already" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "runs").exists()


def test_one_with_trained_weights_needs_no_seed(run, tmp_path):
    weights = tmp_path / "client.pt"
    torch.save(tiny_client().state_dict(), weights)

    code, rows = run("trained", client_model=WITH_ARGUMENTS, trained_model=str(weights))

    assert code == 0
    assert len(rows) == 2
