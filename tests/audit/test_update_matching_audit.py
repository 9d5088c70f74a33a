"""An attack that makes no reconstruction, from the command line and from Python."""

import json

import pytest
import torch
import yaml

from ggl_lightning import audit_update
from ggl_lightning.attacks import UpdateMatching
from ggl_lightning.clients import client_update
from ggl_lightning.metrics import identification_bound
from tests.audit.conftest import tiny_settings
from tests.tiny import TinyClient, TinyImages, TinyPrior


@pytest.fixture
def matching_config(tmp_path):
    settings = tiny_settings(tmp_path / "runs")
    settings["data"]["controls"] = ["null_noise", "bound"]
    settings["data"]["idx"] = "0-5"
    settings["data"]["attacks"]["matching"] = {"class_path": "ggl_lightning.attacks.UpdateMatching"}
    path = tmp_path / "matching.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def test_it_is_run_ranked_and_reported_beside_a_search(audit, matching_config, tmp_path):
    assert audit("--config", str(matching_config)) == 0
    run = tmp_path / "runs" / "tiny"

    def result(case):
        return json.loads((run / "cases" / case / "result.json").read_text())

    found = result("image000000_none_matching_seed0")
    assert found["rank_update"] == 1
    assert found["decoys"] == 2
    assert found["psnr"] is None
    assert found["rank_pixel"] is None
    assert found["missing_metrics"]["psnr"] == "the attack makes no reconstruction"
    assert "rank_update" not in found["missing_metrics"]
    assert not (run / "cases" / "image000000_none_matching_seed0" / "reconstruction.png").exists()
    search = result("image000000_none_cma_seed0")
    assert search["rank_update"] is None
    assert "reconstruction alone" in search["missing_metrics"]["rank_update"]
    # A null sends the same attacker another update, which says nothing of this image.
    nulls = [result(f"image{i:06d}_none_matching_seed0_null_noise") for i in range(6)]
    assert any(null["rank_update"] > 1 for null in nulls)
    statistics = json.loads((run / "statistics.json").read_text())
    groups = {(group["defense"], group["attack"]): group for group in statistics["groups"]}
    rate = groups["none", "matching"]["identification"]["update"]["top1"]
    assert (rate["rate"], rate["count"]) == (1.0, 6)
    assert "missing" in groups["none", "matching"]["metrics"]["psnr"]
    assert "missing" in groups["none", "cma"]["identification"]["update"]
    page = (run / "report.html").read_text()
    assert "By the update itself the private image is the likeliest in 100%" in page
    assert "Top-1 update" in page
    assert "Identification by the update itself is not known" not in page


def test_a_second_run_keeps_what_there_is(audit, matching_config, tmp_path):
    arguments = ("--config", str(matching_config), "--data.idx", "0", "--data.controls", "[]")
    assert audit(*arguments) == 0
    file = tmp_path / "runs/tiny/cases/image000000_none_matching_seed0/result.json"
    before = file.stat().st_mtime_ns
    assert audit(*arguments) == 0
    assert file.stat().st_mtime_ns == before


def test_one_update_from_python():
    images, labels = TinyImages(12).dataset("test").tensors
    torch.manual_seed(0)
    model = TinyClient().eval()
    update = client_update(model, images[:1], labels[:1])
    found = audit_update(
        update,
        model,
        prior=TinyPrior(),
        images=images[:1],
        lineup=images[1:],
        attacks={"matching": UpdateMatching()},
    )
    assert found["matching"].scores["rank_update"] == 1
    assert found["matching"].missing["psnr"] == "the attack makes no reconstruction"
    assert "rank by the update" in repr(found)
    assert "matching" in found._repr_html_()


def test_the_bound_of_the_mechanism_stands_beside_what_was_reached(
    audit, matching_config, tmp_path
):
    settings = yaml.safe_load(matching_config.read_text())
    del settings["data"]["attacks"]["cma"]
    path = "ggl_lightning.defenses."
    clipped_and_noised = [
        {"class_path": path + "Clipping", "init_args": {"bound": 0.5}},
        {"class_path": path + "Noise", "init_args": {"std": 1.0}},
    ]
    settings["data"]["controls"] = []
    settings["data"]["defenses"] = {
        "noise": {"class_path": path + "Noise"},
        "clipped_noise": {
            "class_path": path + "Compose",
            "init_args": {"defenses": clipped_and_noised},
        },
    }
    matching_config.write_text(yaml.safe_dump(settings))
    assert audit("--config", str(matching_config)) == 0
    run = tmp_path / "runs" / "tiny"
    statistics = json.loads((run / "statistics.json").read_text())
    groups = {group["defense"]: group for group in statistics["groups"]}
    noised, both = groups["noise"], groups["clipped_noise"]
    assert both["noise_multiplier"] == {"value": 2.0}
    top1 = both["identification"]["update"]["top1"]
    assert top1["mechanism_bound"] == pytest.approx(identification_bound(2.0, decoys=2))
    assert both["identification"]["update"]["top5"]["mechanism_bound"] == 1.0
    assert "norm" in noised["noise_multiplier"]["missing"]
    assert "mechanism_bound" not in noised["identification"]["update"]["top1"]
    page = (run / "report.html").read_text()
    assert "The noise (multiplier 2.00) lets no attack on one update name" in page
    assert "Identification beside the bound of the mechanism" in page
    assert "noise, matching: the defense is not known to add Gaussian noise" in page


def test_sent_buffers_have_no_bound(audit, matching_config, tmp_path):
    """Batch statistics are sent without noise: what hides the update does not hide them."""
    settings = yaml.safe_load(matching_config.read_text())
    del settings["data"]["attacks"]["cma"]
    settings["data"]["controls"] = []
    settings["data"]["idx"] = [0]
    settings["model"]["procedure"] = {
        "class_path": "ggl_lightning.clients.procedures.LocalTraining",
        "init_args": {
            "mode": "train",
            "send_buffers": True,
            "optimizer": {
                "class_path": "ggl_lightning.clients.procedures.ClientSGD",
                "init_args": {"learning_rate": 0.1},
            },
        },
    }
    settings["data"]["defenses"] = {"dp": {"class_path": "ggl_lightning.defenses.LocalDP"}}
    matching_config.write_text(yaml.safe_dump(settings))
    assert audit("--config", str(matching_config)) == 0
    found = json.loads(next((tmp_path / "runs/tiny/cases").glob("*/result.json")).read_text())
    assert found["noise_multiplier"] is None
    assert "epsilon" in found["defense_guarantee"]
