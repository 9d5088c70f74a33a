"""Everything that can be known before the first search is told at once, and nothing is left."""

import pytest
import torch
import yaml
from torch import nn
from torch.utils.data import TensorDataset

from ggl_lightning.audit.gate import disk
from tests.tiny import TinyClient, TinyImages, TinyPrior


class SpareClient(TinyClient):
    """One that is given images which are not of its kind."""

    def forward(self, images):
        return super().forward(images), images


class Damaged(TinyImages):
    """Image 5, which is no private one but a decoy and another client's, cannot be read."""

    def problems(self, split, indices):
        return [f"the image {i} of the {split} split is cut off." for i in indices if i == 5]


class Glaring(TinyImages):
    def dataset(self, split):
        images, labels = super().dataset(split).tensors
        images[3] *= 5
        return TensorDataset(images, labels)


class ManyClasses(TinyImages):
    def dataset(self, split):
        images, labels = super().dataset(split).tensors
        return TensorDataset(images, torch.where(torch.arange(len(images)) == 4, 11, labels))


class SixClasses(TinyPrior):
    """A prior for fewer classes than some client models have."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(6, 6).requires_grad_(False)

    def forward(self, latents, labels=None):
        return super().forward(latents + self.table(labels))


@pytest.fixture
def refusal(audit, tiny_config, tmp_path, capsys):
    """Runs an audit that is refused; returns the problems that are told."""

    def run(*arguments, **changes):
        config = yaml.safe_load(tiny_config.read_text())
        for place, value in changes.items():
            *path, last = place.split("__")
            inner = config
            for name in path:
                inner = inner[name]
            inner[last] = value
        tiny_config.write_text(yaml.safe_dump(config))
        before = sorted(tmp_path.rglob("*"))
        assert audit(*arguments) == 2
        assert sorted(tmp_path.rglob("*")) == before
        told = capsys.readouterr().err.rpartition("error: ")[2].strip().splitlines()
        return told if len(told) == 1 else [line.removeprefix("  - ") for line in told[1:]]

    return run


def _class(name, **arguments):
    return {"class_path": f"{__name__}.{name}", "init_args": arguments}


def test_everything_is_told_at_once(refusal):
    told = refusal(
        "--trainer.precision=bf16-mixed",
        "--trainer.limit_test_batches=0.5",
        "--trainer.inference_mode=true",
        model__client_model=_class("SpareClient"),
        data__images=_class("Damaged"),
    )
    words = [
        "inference mode",
        "trainer.precision is bf16-mixed",
        "trainer.limit_test_batches is 0.5",
        "the image 5 of the test split is cut off",
        "SpareClient returns a tuple",
    ]
    assert len(told) == len(words)
    assert all(word in problem for word, problem in zip(words, told, strict=True)), told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trainer.precision=64-true"], "an audit compares updates in float32"),
        (["--trainer.precision=bf16-true"], "an audit compares updates in float32"),
        (["--trainer.precision=16-true"], "an audit compares updates in float32"),
        (
            ["--trainer.limit_test_batches=0"],
            "limit_test_batches is 0, which would leave cases out",
        ),
        (["--trainer.limit_test_batches=0.5"], "which would leave cases out"),
        (["--trainer.fast_dev_run=true"], "fast_dev_run would leave cases out"),
        (["--trainer.strategy=ddp_spawn", "--trainer.devices=2"], "by spawn"),
        (["--trainer.strategy=ddp_fork", "--trainer.devices=2"], "by fork"),
        (["--trainer.strategy=ddp_notebook", "--trainer.devices=2"], "by fork"),
        (
            ["--trainer.devices=2", "--trainer.use_distributed_sampler=true"],
            "it would run cases twice",
        ),
        (["--trainer.devices=2", "--trainer.num_nodes=2"], "nothing says which of them this is"),
        (["--defense=noise", "--d_param=1e38"], "the defense 'noise' made"),
        (["--defense=noise", "--d_param=1e30"], "lower the defense's parameter"),
        (["--data.client_batch=2", "--idx=0-2"], "does not divide the 3 private images"),
    ],
)
def test_a_setting_is_refused_before_anything_is_left(refusal, arguments, message):
    (told,) = refusal(*arguments)
    assert message in told


def test_an_image_that_only_a_control_reads_is_checked(refusal):
    images = _class("Damaged")
    (told,) = refusal(data__images=images, data__idx=[1], data__decoys=2)
    assert "the image 5 of the test split" in told
    (told,) = refusal(
        data__images=images, data__idx=[1, 3], data__decoys=0, data__controls=["null_other"]
    )
    assert "the image 5 of the test split" in told


def test_an_image_that_nothing_reads_may_be_damaged(audit, tiny_config):
    config = yaml.safe_load(tiny_config.read_text())
    config["data"] |= {"images": _class("Damaged"), "idx": [0], "decoys": 5}
    tiny_config.write_text(yaml.safe_dump(config))
    assert audit("--budget=1", "--defense=none") == 0


def test_images_outside_their_range_are_told_by_number(refusal):
    (told,) = refusal(data__images=_class("Glaring"))
    assert "The private image 3 has values from" in told
    assert "must give images in [-1, 1]" in told


def test_classes_must_suffice_for_all_labels_there_are(refusal):
    (told,) = refusal(data__images=_class("ManyClasses"))
    assert "set num_classes to at least 12" in told


def test_a_conditional_prior_must_know_every_label_that_may_be_inferred(refusal):
    client = {"class_path": "tests.tiny.TinyClient", "init_args": {"num_classes": 9}}
    (told,) = refusal(model__prior=_class("SixClasses"), model__client_model=client)
    assert "the labels [8]" in told


def _utility(**settings):
    return {"class_path": "ggl_lightning.federated.FederatedTraining", "init_args": settings}


@pytest.mark.parametrize(
    ("settings", "images", "message"),
    [
        ({"clients": 7, "clients_per_round": 1}, "Damaged", "the image 5 of the train split"),
        ({"clients": 7, "clients_per_round": 1}, None, "7, more than the 6 training images"),
        (
            {
                "clients": 2,
                "clients_per_round": 1,
                "update_rule": {
                    "class_path": "ggl_lightning.clients.LocalSGDUpdate",
                    "init_args": {"steps": 1, "batch_size": 2},
                },
            },
            None,
            "batch_size of local SGD is 2, which does not divide the client's 3 images",
        ),
    ],
)
def test_federated_training_is_checked_before_the_first_search(refusal, settings, images, message):
    changes = {} if images is None else {"data__images": _class(images), "data__decoys": 0}
    told = refusal(model__utility=_utility(**settings), **changes)
    assert any(message in problem for problem in told), told


def test_a_disk_without_room_is_told(refusal, monkeypatch):
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100}))
    (told,) = refusal()
    assert "0.0 MB left" in told
    assert "make room" in told


def test_a_folder_that_is_not_ours_is_left_as_it_is(refusal, tmp_path):
    folder = tmp_path / "runs" / "tiny"
    folder.mkdir(parents=True)
    (folder / "note.txt").write_text("mine")
    before = folder.stat().st_mtime_ns
    refusal("--trainer.precision=16-true")
    assert folder.stat().st_mtime_ns == before


def test_a_dry_run_is_refused_as_the_audit_would_be(refusal):
    (told,) = refusal("--dry_run", "--trainer.limit_test_batches=2")
    assert "would leave cases out" in told
