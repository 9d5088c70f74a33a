"""Attribute agreement through the whole audit."""

import json

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from tests.tiny import TinyClient, TinyImages, TinyPrior


def test_agreement_is_what_the_trained_classifiers_say(audit, tiny_config, tmp_path):
    config = yaml.safe_load(tiny_config.read_text())
    classifiers = {}
    config["model"]["attribute_classifiers"] = {}
    for seed, name in enumerate(["Smiling", "Young", "Wavy_Hair"], 5):
        torch.manual_seed(seed)
        classifiers[name] = TinyClient().eval()
        file = tmp_path / f"{name}.safetensors"
        save_file(classifiers[name].state_dict(), file)
        config["model"]["attribute_classifiers"][name] = {
            "class_path": "ggl_lightning.clients.TrainedClassifier",
            "init_args": {
                "client_model": {"class_path": "tests.tiny.TinyClient"},
                "weights": str(file),
            },
        }
    tiny_config.write_text(yaml.safe_dump(config, sort_keys=False))
    assert audit("--budget", "2") == 0
    images, prior = TinyImages().dataset("test"), TinyPrior()
    folder = tmp_path / "runs" / "tiny"
    for row in json.loads((folder / "summary.json").read_text()):
        latents = torch.from_numpy(np.load(folder / "cases" / row["name"] / "latent.npy"))
        pair = torch.cat([prior(latents), images[row["image_index"]][0][None]])
        agree = [bool(c(pair).argmax(1).unique().numel() == 1) for c in classifiers.values()]
        assert row["attribute_agreement"] == pytest.approx(sum(agree) / 3)
        assert "attribute_agreement" not in row["missing_metrics"]


def test_without_classifiers_it_is_missing_and_says_what_to_do(audit, tmp_path):
    assert audit("--budget", "2", "--idx", "0") == 0
    for row in json.loads((tmp_path / "runs" / "tiny" / "summary.json").read_text()):
        assert row["attribute_agreement"] is None
        assert "model.attribute_classifiers" in row["missing_metrics"]["attribute_agreement"]


def test_a_classifier_without_its_file_ends_before_any_work(audit, tiny_config, tmp_path, capsys):
    config = yaml.safe_load(tiny_config.read_text())
    config["model"]["attribute_classifiers"] = {
        "Smiling": {
            "class_path": "ggl_lightning.clients.TrainedClassifier",
            "init_args": {
                "client_model": {"class_path": "tests.tiny.TinyClient"},
                "weights": "nowhere.safetensors",
            },
        }
    }
    tiny_config.write_text(yaml.safe_dump(config, sort_keys=False))
    assert audit() == 2
    assert "nowhere.safetensors" in capsys.readouterr().err
    assert not list((tmp_path / "runs").glob("**/result.json"))
