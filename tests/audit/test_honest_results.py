"""Inputs that would give a wrong number without a word, each through the whole command."""

import json
import math

import pytest
import torch
import yaml
from torch.utils.data import TensorDataset

from ggl_lightning.metrics import CEILING
from tests.tiny import TinyClient, TinyImages, TinyPrior


class BlackPrior(TinyPrior):
    def forward(self, latents, labels=None):
        return super().forward(latents, labels) * 0 - 1


class BlackImages(TinyImages):
    """The last two of them are black."""

    def dataset(self, split):
        images, labels = super().dataset(split).tensors
        images = images.clone()
        images[-2:] = -1
        return TensorDataset(images, labels)


class Sure(TinyClient):
    def forward(self, images):
        return super().forward(images) * 0 + torch.tensor([1e4, 0.0])


class Act(TinyClient):
    def __init__(self, act: str = "relu") -> None:
        super().__init__()
        self.act = act

    def forward(self, images):
        return super().forward(getattr(torch, self.act)(images))


class FrozenHead(TinyClient):
    def __init__(self) -> None:
        super().__init__()
        self[-1].requires_grad_(False)


class Collapsed(TinyClient):
    def forward(self, images):
        return super().forward(images * 1e-30)


@pytest.fixture
def run(audit, tiny_config, tmp_path):
    """Runs the tiny audit with a budget of one round; returns exit code and the rows."""

    def run(*arguments, **model):
        config = yaml.safe_load(tiny_config.read_text())
        for name, class_name in model.items():
            where = config["data"] if name == "images" else config["model"]
            where[name] = {"class_path": f"tests.audit.test_honest_results.{class_name}"}
        path = tmp_path / "changed.yaml"
        path.write_text(yaml.safe_dump(config))
        code = audit("--config", str(path), "--budget", "1", "--defense", "none", *arguments)
        file = tmp_path / "runs" / "tiny" / "summary.json"
        return code, json.loads(file.read_text()) if file.exists() else None

    return run


def test_exact_reconstructions_are_counted(run, tmp_path, capsys):
    code, rows = run("--idx", "2-5", prior="BlackPrior", images="BlackImages")
    assert code == 0
    assert [row["psnr"] for row in rows][2:] == ["Infinity"] * 2
    folder = tmp_path / "runs" / "tiny"
    [group] = json.loads((folder / "statistics.json").read_text())["groups"]
    found = [row["psnr"] for row in rows[:2]] + [CEILING] * 2
    assert group["metrics"]["psnr"]["mean"] == pytest.approx(sum(found) / 4)
    assert group["metrics"]["psnr"]["capped"] == 2
    assert group["failed"] == 0
    assert "exact" in (folder / "report.html").read_text()
    assert "inf" in capsys.readouterr().out
    assert run("--idx", "2-5", prior="BlackPrior", images="BlackImages") == (0, rows)


def test_an_empty_update_is_said_to_be_empty(run, capsys):
    code, rows = run("--idx", "0", "--adaptive", "--defense", "clipping", client_model="Sure")
    assert code == 0
    assert (rows[0]["label_correct"], rows[0]["label_margin"]) == (False, 0.0)
    assert "is empty" in rows[0]["missing_metrics"]["inferred_labels"]
    assert rows[0]["defense_estimate"] is None
    assert "nothing but zeros: 1" in capsys.readouterr().out


def test_a_defense_that_exceeds_float32_is_named(run, capsys):
    code, rows = run("--idx", "0", "--defense", "noise", "--d_param", "1e38")
    assert (code, rows) == (2, None)
    error = capsys.readouterr().err.splitlines()[-1]
    assert "the defense 'noise' made NaN or infinite values" in error
    assert "client model" not in error


def test_a_client_models_settings_are_part_of_a_run(run, capsys):
    assert run("--idx", "0", client_model="Act")[0] == 0
    again = ("--idx", "0", "--model.client_model.init_args.act")
    assert run(*again, "relu", client_model="Act")[0] == 0
    assert run(*again, "sigmoid", client_model="Act")[0] == 2
    assert "was run with another configuration" in capsys.readouterr().err


def test_a_grid_may_shrink_but_not_change(run, tmp_path, capsys):
    assert run("--idx", "0-1")[0] == 0
    snapshot = tmp_path / "runs/tiny/cases/image000000_none_cma_seed0/snapshot.safetensors"
    snapshot.write_bytes(b"of a case that was interrupted after its result")
    code, rows = run("--idx", "0")
    assert (code, len(rows)) == (0, 2)
    assert not snapshot.exists()
    assert "not of this grid, included: 1" in capsys.readouterr().out
    assert run("--idx", "2", "--budget", "2")[0] == 2  # the same attack's name, another budget
    assert run("--idx", "2", "--model.random_samples", "11")[0] == 2


def test_results_of_an_earlier_version_are_called_that(run, tmp_path, capsys):
    assert run("--idx", "0")[0] == 0
    file = tmp_path / "runs/tiny/cases/image000000_none_cma_seed0/result.json"
    file.write_text(file.read_text().replace('"key": "v2-', '"key": "'))
    assert run("--idx", "0")[0] == 2
    assert "an earlier version" in capsys.readouterr().err


def test_a_frozen_last_layer_needs_known_labels(run, capsys):
    assert run("--idx", "0", client_model="FrozenHead")[0] == 2
    assert "last layer is frozen" in capsys.readouterr().err
    known = "--data.attacks.cma.init_args.known_label"
    code, rows = run("--idx", "0", known, "true", client_model="FrozenHead")
    assert code == 0
    assert rows[0]["label_correct"] is None
    assert "frozen" in rows[0]["missing_metrics"]["inferred_labels"]


def test_collapsed_features_identify_nobody(run):
    code, rows = run("--idx", "0-1", client_model="Collapsed")
    assert code == 0
    for row in rows:
        assert row["rank_feature"] is None
        assert "equal up to rounding" in row["missing_metrics"]["rank_feature"]
        assert row["rank_pixel"] is not None
        assert math.isfinite(row["psnr"])
