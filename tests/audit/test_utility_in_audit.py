"""Federated training under every defense, as part of an audit."""

import json

import pytest
import yaml

from ggl_lightning.defenses import Noise
from ggl_lightning.federated import FederatedTraining


@pytest.fixture
def with_utility(tiny_config):
    config = yaml.safe_load(tiny_config.read_text())
    config["model"]["utility"] = {
        "class_path": "ggl_lightning.federated.FederatedTraining",
        "init_args": {
            "rounds": 4, "clients": 3, "clients_per_round": 2, "images_per_client_update": 2,
            "evaluate_every": 2,
        },
    }  # fmt: skip
    config["data"]["images"]["init_args"] = {"count": 12}
    tiny_config.write_text(yaml.safe_dump(config, sort_keys=False))


def _row(folder, defense):
    return json.loads((folder / "utility" / defense / "result.json").read_text())


def test_every_defense_has_its_accuracy_and_a_rerun_keeps_it(audit, with_utility, tmp_path):
    folder = tmp_path / "runs" / "tiny"
    assert audit("--idx", "0", "--budget", "2") == 0
    for defense in ("none", "noise0.1"):
        row = _row(folder, defense)
        assert (row["status"], row["defense"], row["test_images"]) == ("done", defense, 12)
        assert [r for r, _ in row["accuracy_curve"]] == [0, 2, 4]
        assert row["accuracy"] == row["accuracy_curve"][-1][1]
        assert row["settings"]["rounds"] == 4
    before = (folder / "utility" / "none" / "result.json").stat().st_mtime_ns
    (folder / "utility" / "noise0.1" / "result.json").unlink()
    assert audit("--idx", "0", "--budget", "2") == 0
    assert (folder / "utility" / "none" / "result.json").stat().st_mtime_ns == before
    assert _row(folder, "noise0.1")["accuracy"] is not None


def test_other_trainings_are_never_overwritten(audit, with_utility, capsys):
    assert audit("--idx", "0", "--budget", "2") == 0
    assert audit("--idx", "0", "--budget", "2", "--model.utility.init_args.rounds=5") == 2
    assert "its federated training noise0.1 was run with another configuration" in (
        capsys.readouterr().err
    )


def test_a_training_that_diverges_is_marked_failed(
    audit, with_utility, tiny_config, tmp_path, capsys
):
    config = yaml.safe_load(tiny_config.read_text())
    config["model"]["utility"]["init_args"]["server"] = {
        "class_path": "ggl_lightning.federated.ServerSGD",
        "init_args": {"learning_rate": 1e38},
    }
    tiny_config.write_text(yaml.safe_dump(config, sort_keys=False))
    assert audit("--idx", "0", "--budget", "2", "--defense", "noise") == 3
    assert "noise" in capsys.readouterr().err
    row = json.loads((tmp_path / "runs/tiny/utility/noise/failure.json").read_text())
    assert row["status"] == "failed"
    assert row["accuracy"] is None
    assert row["error"]


def test_a_training_that_raises_is_marked_failed_and_tried_again(
    audit, with_utility, tmp_path, monkeypatch
):
    run = FederatedTraining.run

    def broken(self, model, train, test, defense, *rest):
        if isinstance(defense, Noise):
            raise RuntimeError("the allocator gave up")
        return run(self, model, train, test, defense, *rest)

    folder = tmp_path / "runs" / "tiny" / "utility"
    with monkeypatch.context() as patch:
        patch.setattr(FederatedTraining, "run", broken)
        assert audit("--idx", "0", "--budget", "2") == 3
    failed = json.loads((folder / "noise0.1" / "failure.json").read_text())
    done = json.loads((folder / "none" / "result.json").read_text())
    assert failed.keys() == done.keys()
    assert failed["error"] == "RuntimeError: the allocator gave up"
    assert failed["accuracy"] is None
    assert audit("--idx", "0", "--budget", "2") == 0
    assert not (folder / "noise0.1" / "failure.json").exists()
