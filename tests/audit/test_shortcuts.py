"""Every shortcut arrives where it belongs in the resolved configuration."""

import pytest
import yaml

from ggl_lightning.audit.cli import main
from ggl_lightning.cli import run_command


@pytest.fixture
def resolved(tiny_config, capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as exit_:
            run_command(main, ["--config", str(tiny_config), *arguments, "--print_config"])
        assert exit_.value.code == 0
        return yaml.safe_load(capsys.readouterr().out)

    return run


def _attack(config):
    return config["data"]["attacks"]["cma"]["init_args"]


def test_published_command_lines_resolve(resolved):
    config = resolved(
        "--n_trials", "2", "--budget", "70", "--ng_method", "TwoPointsDE",
        "--exp_name", "x_1", "--out_dir", "elsewhere", "--idx", "5", "--seed", "123", "--gpu", "1",
    )  # fmt: skip
    attack = _attack(config)
    assert (attack["n_trials"], attack["budget"]) == (2, 70)
    assert attack["search"]["init_args"] == {"method": "TwoPointsDE", "population": 10}
    assert (config["model"]["exp_name"], config["model"]["out_dir"]) == ("x_1", "elsewhere")
    assert (config["data"]["idx"], config["data"]["seeds"]) == (5, 123)
    assert (config["trainer"]["accelerator"], config["trainer"]["devices"]) == ("gpu", [1])
    assert {config[name] for name in ("budget", "idx", "gpu")} == {None}


@pytest.mark.parametrize(
    ("name", "class_name", "parameter"),
    [
        ("noise", "Noise", "std"),
        ("clipping", "Clipping", "bound"),
        ("compression", "Compression", "percentage"),
        ("representation", "Representation", "pruning_rate"),
    ],
)
def test_defense_and_its_parameter(resolved, name, class_name, parameter):
    config = resolved("--defense", name, "--d_param", "7", "--adaptive")
    assert config["data"]["defenses"] == {
        name: {
            "class_path": f"ggl_lightning.defenses.{class_name}",
            "init_args": {parameter: 7.0},
        }
    }
    assert _attack(config)["adaptive"] is True


def test_flags_with_and_without_a_value(resolved):
    assert _attack(resolved("--use_weight", "--budget", "3"))["use_weight"] is True
    assert _attack(resolved("--use_weight", "false"))["use_weight"] is False
    assert _attack(resolved("--adaptive=false"))["adaptive"] is False


def test_other_searches(resolved):
    adam = _attack(resolved("--ng_method", "adam"))["search"]
    assert adam["class_path"] == "ggl_lightning.attacks.searches.AdamSearch"
    assert adam["init_args"] == {"lr": 0.1, "restarts": 1}
    bo = _attack(resolved("--ng_method", "BO"))["search"]
    assert bo["class_path"].endswith("TuRBOSearch")
    assert bo["init_args"]["initial"] == 256


def test_client_models_by_name(resolved):
    own = resolved("--model", "ConvNet")["model"]["client_model"]
    assert own["class_path"] == "ggl_lightning.clients.ConvNet"
    other = resolved("--model=resnet34")["model"]["client_model"]
    assert other["class_path"] == "ggl_lightning.clients.TorchvisionClassifier"
    assert other["init_args"]["name"] == "resnet34"


def test_shortcuts_in_yaml(tiny_config, resolved):
    config = yaml.safe_load(tiny_config.read_text())
    tiny_config.write_text(yaml.safe_dump({**config, "budget": 9, "idx": [2]}, sort_keys=False))
    assert _attack(resolved())["budget"] == 9
    assert resolved("--idx", "4")["data"]["idx"] == 4


def test_resolved_configuration_resolves_to_itself(tiny_config, resolved):
    first = resolved("--defense", "clipping", "--budget", "4", "--ng_method", "adam")
    tiny_config.write_text(yaml.safe_dump(first, sort_keys=False))
    assert resolved() == first
