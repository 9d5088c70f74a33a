"""A model that gives its input away exactly is reported as doing so."""

import json

import yaml

from tests.audit.conftest import tiny_settings


def test_an_mlp_gives_its_image_away_also_under_clipping(audit, tmp_path, capsys):
    settings = tiny_settings(tmp_path / "runs")
    settings["model"]["client_model"] = {
        "class_path": "ggl_lightning.clients.MLP",
        "init_args": {"num_classes": 2, "image_size": 8, "width": 16, "hidden_layers": 1},
    }
    settings["data"]["attacks"] = {
        "linear": {"class_path": "ggl_lightning.attacks.FirstLinearInversion"}
    }
    settings["data"]["defenses"]["clip"] = {
        "class_path": "ggl_lightning.defenses.Clipping",
        "init_args": {"bound": 0.01},
    }
    path = tmp_path / "linear.yaml"
    path.write_text(yaml.safe_dump(settings))
    assert audit("--config", str(path)) == 0
    cases = tmp_path / "runs" / "tiny" / "cases"
    for defense in ("none", "clip"):
        for index in (0, 3):
            file = cases / f"image{index:06d}_{defense}_linear_seed0" / "result.json"
            found = json.loads(file.read_text())
            assert found["psnr"] == "Infinity" or found["psnr"] > 60
            assert found["rank_pixel"] == 1
            assert found["label_correct"]
    noisy = json.loads((cases / "image000000_noise0.1_linear_seed0" / "result.json").read_text())
    assert noisy["psnr"] < 60


def test_a_convolution_does_not_and_that_is_told_beforehand(audit, tmp_path, capsys):
    settings = tiny_settings(tmp_path / "runs")
    settings["data"]["attacks"]["linear"] = {
        "class_path": "ggl_lightning.attacks.FirstLinearInversion"
    }
    path = tmp_path / "linear.yaml"
    path.write_text(yaml.safe_dump(settings))
    assert audit("--config", str(path)) == 2
    assert "has no linear layer that sees the image itself" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
