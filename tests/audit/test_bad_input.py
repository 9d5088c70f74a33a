"""A user's mistake ends in one line, exit code 2, and no work done."""

import json

import pytest
import torch
import yaml

from ggl_lightning.attacks import GenerativeGradientLeakage
from ggl_lightning.attacks.searches import NevergradSearch
from ggl_lightning.audit import AuditDataModule, AuditModule
from ggl_lightning.defenses import NoDefense
from ggl_lightning.errors import UserError
from tests.tiny import TinyClient, TinyImages, TinyPrior


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ng_method", "CMAX"], "'CMAX', which is not known. Did you mean"),
        (["--budget", "0"], "budget is 0"),
        (["--budget", "-3"], "budget is -3"),
        (["--n_trials", "0"], "n_trials is 0"),
        (["--idx", "6"], "idx 6 is out of range: the test split has 6 images, numbered 0 to 5"),
        (["--idx", "-1"], "idx -1 is out of range"),
        (["--idx", "[1, 1]"], "each once"),
        (["--idx", "[]"], "at least one value"),
        (["--seed", "-1"], "must not be negative"),
        (["--exp_name", "../elsewhere"], "letters, digits"),
        (["--data.images.init_args.image_size", "16"], "set image_size of the images to 8"),
        (["--model.random_samples", "0"], "random_samples is 0"),
        (["--d_param", "3"], "--d_param 3 needs --defense"),
        (["--defense", "none", "--d_param", "3"], "has no meaning for --defense none"),
        (["--defense", "clip"], "--defense is 'clip', which is not known. Did you mean"),
        (["--defense", "noise", "--d_param", "-1"], "std of the noise defense is -1"),
        (["--model", "resnet19"], "resnet19"),
        (["--trained_model", "nowhere.ckpt"], "nowhere.ckpt"),
        (["--use_weight"], "62 weights"),
        (["--ng_method", "BO", "--budget", "100"], "budget is 100 evaluations"),
        (["--trainer.inference_mode", "true"], "set trainer.inference_mode to false"),
    ],
)
def test_one_line_and_exit_code_2(audit, capsys, tmp_path, arguments, message):
    assert audit(*arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in error
    assert not list((tmp_path / "runs").glob("**/result.json"))


def test_population_and_names_from_yaml_are_checked(audit, tiny_config, capsys):
    config = yaml.safe_load(tiny_config.read_text())
    search = config["data"]["attacks"]["cma"]["init_args"]["search"]
    search["init_args"]["population"] = 0
    tiny_config.write_text(yaml.safe_dump(config, sort_keys=False))
    assert audit() == 2
    assert "population is 0" in capsys.readouterr().err
    search["init_args"]["population"] = 5
    config["data"]["defenses"]["../up"] = config["data"]["defenses"].pop("none")
    tiny_config.write_text(yaml.safe_dump(config, sort_keys=False))
    assert audit() == 2
    assert "defense name '../up'" in capsys.readouterr().err


def test_folder_that_cannot_be_written_is_refused(audit, capsys, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    assert audit("--out_dir", str(blocker)) == 2
    assert "not writable" in capsys.readouterr().err


def test_other_results_are_never_overwritten(audit, capsys, tmp_path):
    assert audit("--idx", "0") == 0
    results = sorted((tmp_path / "runs" / "tiny" / "cases").glob("*/result.json"))
    before = [file.read_text() for file in results]
    config = (tmp_path / "runs" / "tiny" / "config.yaml").read_text()
    for arguments in (["--idx", "0", "--budget", "3"], ["--idx", "3", "--budget", "3"]):
        assert audit(*arguments) == 2
        assert "already holds other results" in capsys.readouterr().err
    assert [file.read_text() for file in results] == before
    assert (tmp_path / "runs" / "tiny" / "config.yaml").read_text() == config
    assert len(json.loads((tmp_path / "runs" / "tiny" / "summary.json").read_text())) == 2


def test_traceback_only_on_request(audit, monkeypatch):
    with pytest.raises(UserError):
        audit("--budget", "0", "--traceback")
    monkeypatch.setenv("GGL_TRACEBACK", "1")
    with pytest.raises(UserError):
        audit("--budget", "0")


def test_python_callers_get_the_same_errors():
    attacks = {"a": GenerativeGradientLeakage(NevergradSearch())}
    with pytest.raises(UserError, match="has no defense"):
        AuditDataModule(TinyImages(), attacks, {})
    with pytest.raises(UserError, match="has no attack"):
        AuditDataModule(TinyImages(), {}, {"none": NoDefense()})
    with pytest.raises(UserError, match="kl_weight"):
        GenerativeGradientLeakage(NevergradSearch(), kl_weight=-1)


def test_client_model_depends_on_its_seed_alone():
    torch.manual_seed(1)
    first = AuditModule(TinyClient, TinyPrior(), client_seed=3).client_model
    torch.manual_seed(2)
    torch.rand(5)
    again = AuditModule(TinyClient, TinyPrior(), client_seed=3).client_model
    other = AuditModule(TinyClient, TinyPrior(), client_seed=4).client_model
    assert not first.training
    assert torch.equal(first[0].weight, again[0].weight)
    assert not torch.equal(first[0].weight, other[0].weight)
