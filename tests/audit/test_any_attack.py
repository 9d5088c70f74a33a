"""An attack of one's own: no search, no latents, no objective."""

import json

import pytest
import torch
import yaml

from ggl_lightning.attacks import Attack, Finding
from tests.audit.conftest import tiny_settings


class Grey(Attack):
    """Answers an image of one grey, whatever it receives."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = value

    def problems(self, target, count, procedure):
        return [] if abs(self.value) <= 1 else [f"value is {self.value}: no image has such a grey."]

    def run(self, received, target, seed, progress=None):
        size = target.prior.image_size
        images = torch.full((received.count, 3, size, size), self.value)
        labels = torch.zeros(received.count, dtype=torch.long)
        return Finding(images, labels, artefacts={"grey": images.mean(dim=(1, 2, 3))})

    def invert(self, images, labels, target, seed, progress=None):
        return Finding(images.cpu(), labels.cpu())

    @property
    def evaluations(self):
        return 0

    @property
    def cost(self):
        return 0.0


@pytest.fixture
def grey_config(tmp_path):
    settings = tiny_settings(tmp_path / "runs")
    settings["data"]["attacks"]["grey"] = {
        "class_path": "tests.audit.test_any_attack.Grey",
        "init_args": {"value": 0.25},
    }
    settings["data"]["controls"] = ["null_noise", "bound"]
    path = tmp_path / "grey.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def test_it_is_run_scored_and_reported_beside_the_search(audit, grey_config, tmp_path):
    assert audit("--config", str(grey_config)) == 0
    run = tmp_path / "runs" / "tiny"
    folder = run / "cases" / "image000000_none_grey_seed0"
    found = json.loads((folder / "result.json").read_text())
    assert found["status"] == "done"
    assert found["loss"] is None
    assert found["trial"] is None
    assert found["mse"] > 0
    assert found["details"]["attack"]["value"] == 0.25
    assert not (folder / "latent.npy").exists()
    assert (folder / "grey.npy").exists()
    bound = json.loads((run / "cases" / "image000000_grey_seed0_bound" / "result.json").read_text())
    assert bound["mse"] == 0
    assert "grey" in (run / "report.html").read_text()
    statistics = json.loads((run / "statistics.json").read_text())
    assert {group["attack"] for group in statistics["groups"]} >= {"cma", "grey"}


def test_a_dry_run_times_it_as_a_whole(audit, grey_config, capsys):
    assert audit("--config", str(grey_config), "--dry_run") == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "none grey" in line)
    assert line.split()[:2] == ["2", "0"]


def test_what_it_cannot_do_is_told_before_anything_runs(audit, grey_config, tmp_path, capsys):
    value = "data.attacks.grey.init_args.value"
    assert audit("--config", str(grey_config), f"--{value}", "2") == 2
    assert "value is 2.0: no image has such a grey." in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
