"""Recorded updates, audited by the real command."""

import csv
import json
import logging

import pytest
import torch
import yaml
from torch.nn import functional as F
from torchvision.utils import save_image

from ggl_lightning.audit.cli import main
from ggl_lightning.cli import run_command
from ggl_lightning.seeding import seeded
from ggl_lightning.updates import record_gradient, record_update
from tests.audit.conftest import tiny_settings
from tests.tiny import TinyClient, TinyImages

NO_IMAGE = "no private image was given"


def private(count):
    images, labels = TinyImages().dataset("test").tensors
    return images[:count], labels[:count]


def train(model, count):
    """A client's own loop: train mode, momentum, shuffled batches of half of its images."""
    images, labels = private(count)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    model.train()
    for part in torch.randperm(count).split(2):
        optimizer.zero_grad()
        F.cross_entropy(model(images[part]), labels[part]).backward()
        optimizer.step()


def record(path, seed=0, count=4, said=True):
    """What a client recorded that trained, from other weights than the audit's model has."""
    path.parent.mkdir(exist_ok=True)
    with seeded(seed + 100):
        model = TinyClient()
        with record_update(model, path, count=count if said else None):
            train(model, count)
    return str(path)


def pictures(folder, images):
    folder.mkdir()
    for i, image in enumerate(images):
        save_image((image + 1) / 2, folder / f"{i}.png")
    return str(folder)


@pytest.fixture
def audit(tmp_path):
    """Audits records; returns the exit code."""

    def run(records, *arguments, **data):
        settings = tiny_settings(tmp_path / "runs")
        for name in ("idx", "images", "defenses", "decoys"):
            del settings["data"][name]
        settings["data"] |= {"records": records, **data}
        path = tmp_path / "records.yaml"
        path.write_text(yaml.safe_dump(settings))
        return run_command(main, ["--config", str(path), *arguments])

    return run


@pytest.fixture
def found(tmp_path):
    """The rows of the last audit, by name."""
    run = tmp_path / "runs" / "tiny"
    return lambda: {row["name"]: row for row in json.loads((run / "summary.json").read_text())}


def test_records_alone_are_attacked_and_every_metric_is_missing(
    audit, found, tmp_path, capsys, caplog
):
    files = [record(tmp_path / f"round-{i}.safetensors", i) for i in (1, 2)]
    every = ["null_random", "null_noise", "null_other", "bound"]
    with caplog.at_level(logging.WARNING):
        assert audit(files, controls=every) == 0
    run = tmp_path / "runs" / "tiny"
    rows = found()
    attacks = {f"round-{i}_none_cma_seed0" for i in (1, 2)}
    assert rows.keys() == attacks | {f"{name}_null_noise" for name in attacks}
    told = [each.message for each in caplog.records if "are left out" in each.message]
    assert len(told) == 3
    assert "2 cases of the control null_random are left out: the private images" in told[0]
    for name, row in rows.items():
        assert (row["status"], row["role"]) == (
            "done",
            "null_noise" if "null" in name else "attack",
        )
        assert (row["image_index"], row["images"], row["labels"]) == (None, 4, None)
        for metric in ("mse", "psnr", "rank_pixel", "psnr_random_mean", "fmse"):
            assert row[metric] is None
            assert row["missing_metrics"][metric] == NO_IMAGE
        assert row["loss"] > 0
        assert row["seconds"] > 0
        assert (run / "cases" / name / "reconstruction.png").is_file()
        assert not (run / "cases" / name / "original.png").exists()
    for name in attacks:
        assert rows[name]["missing_metrics"]["label_accuracy"] == "no private label was given"
        assert len(rows[name]["inferred_labels"]) == 4
        assert rows[name]["label_margin"] is not None
        assert rows[name]["details"]["record"]["mode"] == "train"
        assert rows[name]["details"]["evaluation"]["mode"] == "train"
    assert rows["round-1_none_cma_seed0"]["loss"] != rows["round-2_none_cma_seed0"]["loss"]
    with (run / "results.csv").open() as file:
        table = list(csv.DictReader(file))
    assert {row["record"] for row in table} == {"round-1", "round-2"}
    assert {row["psnr"] for row in table} == {""}
    page = (run / "report.html").read_text()
    assert NO_IMAGE in page
    assert page.count("data:image/png") >= 4
    screen = [line.split() for line in capsys.readouterr().out.splitlines() if "round-" in line]
    assert {line[0] for line in screen} == {"round-1", "round-2"}
    assert all("\N{EM DASH}" in line for line in screen)


def test_with_its_images_a_record_is_scored_and_ranked_in_a_lineup(audit, found, tmp_path):
    file = record(tmp_path / "client.safetensors", count=2)
    everyone, _ = private(6)
    entry = {
        "file": file,
        "images": pictures(tmp_path / "private", everyone[:2]),
        "labels": [0, 1],
    }
    lineup = pictures(tmp_path / "lineup", everyone)
    roles = ["null_random", "null_noise", "bound"]
    assert audit([entry], lineup=lineup, controls=roles) == 0
    rows = found()
    attacked = rows["client_none_cma_seed0"]
    assert rows.keys() == {
        "client_none_cma_seed0",
        "client_none_cma_seed0_null_noise",
        "client_cma_seed0_bound",
        "client_seed0_null_random",
    }
    for row in rows.values():
        assert row["decoys"] == 5  # the private image stands in the lineup, and is no decoy
        assert row["labels"] == [0, 1]
        assert 1 <= row["rank_pixel"] <= 6
        assert row["psnr"] > 0
        assert row["fmse"] is not None
    assert attacked["label_accuracy"] in (0.0, 0.5, 1.0)
    assert rows["client_cma_seed0_bound"]["psnr"] > rows["client_seed0_null_random"]["psnr"]
    run = tmp_path / "runs" / "tiny"
    assert (run / "cases" / "client_none_cma_seed0" / "original.png").is_file()
    statistics = json.loads((run / "statistics.json").read_text())
    (group,) = statistics["groups"]
    assert "value" in group["leakage"]["psnr"]


def test_a_recorded_gradient_is_attacked_as_the_same_one_that_is_simulated(
    audit, found, tmp_path, tiny_config
):
    assert run_command(main, ["--config", str(tiny_config), "--idx=3", "--defense=none"]) == 0
    simulated = found()["image000003_none_cma_seed0"]
    images, labels = private(4)
    with seeded(0):
        model = TinyClient().eval()  # as the audit builds it
    F.cross_entropy(model(images[3:]), labels[3:]).backward()
    file = tmp_path / "step.safetensors"
    record_gradient(model, file, count=1)
    with torch.no_grad():  # what the audit's model has of its own is not looked at
        model[0].weight.add_(1)
    assert audit([str(file)], "--exp_name=recorded", "--model.client_seed=7") == 0
    rows = json.loads((tmp_path / "runs" / "recorded" / "summary.json").read_text())
    assert [row["loss"] for row in rows] == [simulated["loss"]]
    assert rows[0]["inferred_labels"] == simulated["labels"]
    assert rows[0]["label_margin"] == simulated["label_margin"]


def test_a_defense_is_believed_in_and_not_applied(audit, found, tmp_path):
    file = record(tmp_path / "client.safetensors", count=2)
    clipping = {"class_path": "ggl_lightning.defenses.Clipping", "init_args": {"bound": 1e-3}}
    assert audit([file], "--adaptive", defenses={"clipped": clipping}) == 0
    (row,) = found().values()
    from ggl_lightning.updates import read_recording

    sent = read_recording(file).record.tensors.values()
    norm = sum(float(tensor.double().square().sum()) for tensor in sent) ** 0.5
    assert row["defense_estimate"]["bound"] == pytest.approx(norm, rel=1e-5)
    assert norm > 1e-2  # which the bound would have forbidden
    assert row["defense_guarantee"] == {}


def test_records_of_one_name_are_told_apart_and_a_run_goes_on(audit, found, tmp_path):
    for client in ("a", "b"):
        record(tmp_path / client / "round 1.safetensors", ord(client))
    pattern = str(tmp_path / "[ab]" / "*.safetensors")
    assert audit([pattern], "--budget=1") == 0
    first = found()
    assert [row["record"] for row in first.values()] == ["a-round_1", "b-round_1"]
    assert audit([pattern], "--budget=1") == 0
    assert found() == first
    (tmp_path / "a" / "round 1.safetensors").unlink()
    record(tmp_path / "a" / "round 1.safetensors", 5)
    assert audit([pattern], "--budget=1") == 2


def test_the_truth_and_the_belief_belong_to_a_key(audit, found, tmp_path):
    file = record(tmp_path / "client.safetensors", count=2)
    entry = {"file": file, "labels": [0, 1]}
    belief = {
        "class_path": "ggl_lightning.clients.procedures.LocalTraining",
        "init_args": {"steps": 1, "shuffle": False},
    }

    def key(name, records, **model):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"model": model}))
        assert audit(records, "--config", str(path), "--budget=1", f"--exp_name={name}") == 0
        (row,) = json.loads((tmp_path / "runs" / name / "summary.json").read_text())
        return row["key"]

    keys = {
        key("bare", [file]),
        key("labels", [entry]),
        key("belief", [file], procedure=belief),
    }
    assert len(keys) == 3
    assert key("seeded", [file], client_seed=3) in keys


def test_a_dry_run_says_what_is_believed(audit, tmp_path, capsys):
    file = record(tmp_path / "client.safetensors")
    assert audit([file], "--dry_run") == 0
    told = capsys.readouterr().out
    assert "is in training mode while the client trains" in told
    assert not (tmp_path / "runs").exists()
