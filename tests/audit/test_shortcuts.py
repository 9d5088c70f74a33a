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
    assert (adam["init_args"]["lr"], adam["init_args"]["restarts"]) == (0.1, 1)
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


def _client(config):
    return config["model"]["client_model"]


@pytest.fixture
def with_resnet(tiny_config):
    """The tiny configuration with a client model of settings that are not its defaults."""
    config = yaml.safe_load(tiny_config.read_text())
    config["model"]["client_model"] = {
        "class_path": "ggl_lightning.clients.ResNet18",
        "init_args": {"num_classes": 3, "width": 8},
    }
    tiny_config.write_text(yaml.safe_dump(config, sort_keys=False))


@pytest.mark.parametrize("first", [True, False])
def test_what_is_given_for_the_chosen_client_model_is_kept(resolved, first):
    chosen = ["--client", "ResNet18"]
    width = ["--model.client_model.init_args.width", "16"]
    found = _client(resolved(*(chosen + width if first else width + chosen)))
    assert found["class_path"] == "ggl_lightning.clients.ResNet18"
    assert found["init_args"]["width"] == 16


def test_the_same_class_keeps_its_settings(with_resnet, resolved):
    assert _client(resolved("--model", "ResNet18"))["init_args"] == {"num_classes": 3, "width": 8}
    search = _attack(resolved("--ng_method", "DE"))["search"]
    assert search["init_args"] == {"method": "DE", "population": 10}


def test_another_class_keeps_what_applies_and_says_so(with_resnet, tiny_config, capsys):
    with pytest.raises(SystemExit):
        run_command(main, ["--config", str(tiny_config), "--model", "resnet34", "--print_config"])
    printed = capsys.readouterr()
    assert _client(yaml.safe_load(printed.out))["init_args"]["num_classes"] == 3
    assert printed.err.count("\n") == 1
    assert "keeps num_classes 3 and leaves out width 8 of the configured ResNet18" in printed.err


def test_settings_of_the_chosen_search_are_kept(resolved):
    search = "--data.attacks.cma.init_args.search.init_args"
    found = _attack(resolved("--ng_method", "adam", f"{search}.restarts", "4"))["search"]
    assert found["init_args"]["restarts"] == 4
    found = _attack(resolved(f"{search}.population", "7", "--ng_method", "DE"))["search"]
    assert found["init_args"] == {"method": "DE", "population": 7}


def test_options_count_whatever_their_order(tmp_path, resolved):
    other = tmp_path / "other.yaml"
    other.write_text("data: {idx: 1, split: val}\n")
    config = resolved("--data.idx", "4", "--config", str(other))
    assert (config["data"]["idx"], config["data"]["split"]) == (4, "val")


def test_texts_that_yaml_reads_otherwise_are_taken_as_written(tiny_config, resolved):
    assert resolved("--exp_name", "0123")["model"]["exp_name"] == "0123"
    assert resolved("--exp_name=null")["model"]["exp_name"] == "null"
    assert resolved("--exp_name=")["model"]["exp_name"] == ""  # refused before a run
    assert resolved("--idx", "010")["data"]["idx"] == 10
    text = tiny_config.read_text().replace("exp_name: tiny", "exp_name: 2024_01_01")
    tiny_config.write_text(
        text.replace("    none:", "    0.1:").replace("random_samples: 10", "random_samples: 1_0")
    )
    config = resolved()
    assert config["model"]["exp_name"] == "2024_01_01"
    assert config["model"]["random_samples"] == 10
    assert list(config["data"]["defenses"]) == ["0.1", "noise0.1"]


def test_home_folders_are_filled_in_everywhere(resolved, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    logger = "{class_path: pytorch_lightning.loggers.CSVLogger, init_args: {save_dir: ~/logs}}"
    config = resolved(
        "--out_dir=~/runs", "--trained_model", "~/x.pt", f"--trainer.logger={logger}"
    )  # fmt: skip
    assert config["model"]["out_dir"] == "/home/somebody/runs"
    assert config["model"]["trained_model"] == "/home/somebody/x.pt"
    assert config["trainer"]["logger"]["init_args"]["save_dir"] == "/home/somebody/logs"


def test_of_an_option_given_again_the_last_counts_and_that_is_said(tiny_config, capsys):
    given = ["--budget", "2", "--data.seeds=1", "--budget", "3", "--data.seeds", "2"]
    with pytest.raises(SystemExit):
        run_command(main, ["--config", str(tiny_config), *given, "--print_config"])
    shown = capsys.readouterr()
    config = yaml.safe_load(shown.out)
    assert _attack(config)["budget"] == 3
    assert config["data"]["seeds"] == 2
    assert "--budget is given more than once: 3 counts, and 2 does not." in shown.err
    assert "--data.seeds is given more than once: 2 counts, and 1 does not." in shown.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--budget", "2", "--data.attacks.cma.init_args.budget", "3"],
        ["--ng_method", "DE", "--data.attacks.cma.init_args.search", "AdamSearch"],
        ["--exp_name", "a", "--model.exp_name", "b"],
        ["--defense", "none", "--data.defenses.x", "Noise"],
        ["--defense", "noise", "--d_param", "1", "--data.defenses.noise0.1.init_args.std", "2"],
        ["--gpu", "0", "--trainer.accelerator", "cpu"],
        ["--client", "LeNet", "--model.client_model.class_path", "ggl_lightning.clients.MLP"],
        ["--idx", "0", "--data.idx", "1"],
        ["--seed", "1", "--data.seeds", "[2]"],
        ["--idx", "null"],
    ],
)
def test_what_would_be_lost_is_refused(tiny_config, capsys, arguments):
    assert run_command(main, ["--config", str(tiny_config), *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "leave one out" in error or "leave it out" in error
