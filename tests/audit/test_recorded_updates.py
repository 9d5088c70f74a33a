"""Recorded updates, audited by the real command."""

import json

import pytest
import torch
import yaml
from torch.nn import functional as F

from ggl_lightning.seeding import seeded
from ggl_lightning.updates import record_update
from tests.audit.conftest import tiny_settings
from tests.tiny import TinyClient, TinyImages

MISSING = "no private image was given"


def private(count=2):
    images, labels = TinyImages().dataset("test").tensors
    return images[:count], labels[:count]


def train(model, count=2, momentum=0.9, steps=2):
    """A client's own loop: train mode, momentum, shuffled batches of one half."""
    images, labels = private(count)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=momentum)
    model.train()
    for _ in range(steps):
        for part in torch.randperm(count).chunk(max(1, count // 4)):
            optimizer.zero_grad()
            F.cross_entropy(model(images[part]), labels[part]).backward()
            optimizer.step()


def record(path, seed=0, count=2, **known):
    """The recording of a client that trained, from other weights than the audit's model has."""
    with seeded(seed + 100):
        model = TinyClient()
        with record_update(model, path, **{"count": count, **known}):
            train(model, count)
    return path


def settings(tmp_path, records, **data):
    found = tiny_settings(tmp_path / "runs")
    del found["data"]["idx"], found["data"]["images"], found["data"]["decoys"]
    del found["data"]["defenses"]["noise0.1"]
    found["data"] |= {"records": records, **data}
    return found


def rows(folder):
    return {row["name"]: row for row in json.loads((folder / "summary.json").read_text())}


@pytest.fixture
def run(audit, tmp_path):
    def run(records, *arguments, **data):
        path = tmp_path / "records.yaml"
        path.write_text(yaml.safe_dump(settings(tmp_path, records, **data)))
        return audit("--config", str(path), *arguments)

    return run


@pytest.fixture
def audit(tmp_path):
    from ggl_lightning.audit.cli import main
    from ggl_lightning.cli import run_command

    return lambda *arguments: run_command(main, list(arguments))


def test_records_alone_are_attacked_and_every_metric_is_missing(run, tmp_path, capsys):
    files = [str(record(tmp_path / f"round-{i}.safetensors", i)) for i in (1, 2)]
    assert run(files) == 0
    folder = tmp_path / "runs" / "tiny"
    found = rows(folder)
    assert list(found) == ["round-1_none_cma_seed0", "round-2_none_cma_seed0"]
    for row in found.values():
        case = folder / "cases" / row["name"]
        assert row["status"] == "done"
        assert (row["image_index"], row["images"], row["labels"]) == (None, 2, None)
        assert row["mse"] is row["psnr"] is row["rank_pixel"] is row["label_correct"] is None
        assert row["missing_metrics"]["psnr"] == MISSING
        assert row["missing_metrics"]["label_accuracy"] == "no private label was given"
        assert len(row["inferred_labels"]) == 2
        assert row["label_margin"] is not None
        assert row["loss"] > 0
        assert row["seconds"] > 0
        assert (case / "reconstruction.png").is_file()
        assert not (case / "original.png").exists()
    assert MISSING in (folder / "report.html").read_text()
