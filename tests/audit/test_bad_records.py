"""Records that cannot be audited: all that is wrong of them is told at once, a line each."""

import dataclasses

import pytest
import torch
import yaml

from ggl_lightning.audit.cli import main
from ggl_lightning.cli import run_command
from ggl_lightning.updates import read_recording, write_recording
from tests.audit.conftest import tiny_settings
from tests.audit.test_recorded_updates import pictures, private, record
from tests.tiny import TinyClient
from tests.updates.toys import recording_of


@pytest.fixture
def good(tmp_path):
    return read_recording(record(tmp_path / "good.safetensors", count=2))


@pytest.fixture
def told(tmp_path, capsys):
    """Audits records, which is refused; the problems that are told."""

    def run(records, *arguments, model=None, **data):
        settings = tiny_settings(tmp_path / "runs")
        for name in ("idx", "images", "defenses", "decoys"):
            del settings["data"][name]
        settings["data"] |= {"records": records, **data}
        settings["model"] |= model or {}
        (tmp_path / "records.yaml").write_text(yaml.safe_dump(settings))
        before = sorted(tmp_path.rglob("*"))
        assert run_command(main, ["--config", str(tmp_path / "records.yaml"), *arguments]) == 2
        assert sorted(tmp_path.rglob("*")) == before
        error = capsys.readouterr().err
        assert "Traceback" not in error
        lines = error.rpartition("error: ")[2].strip().splitlines()
        return lines if len(lines) == 1 else [line.removeprefix("  - ") for line in lines[1:]]

    return run


@pytest.fixture
def write(tmp_path, good):
    """Writes a recording with changes to it and to its record; returns the file."""

    def write(name, changed=None, **changes):
        recording = dataclasses.replace(good if changed is None else changed)
        record = dataclasses.replace(recording.record, **changes)
        path = tmp_path / f"{name}.safetensors"
        write_recording(path, dataclasses.replace(recording, record=record))
        return str(path)

    return write


def test_everything_is_told_at_once(told, write, good, tmp_path):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((tmp_path / "good.safetensors").read_bytes()[:3000])
    with torch.random.fork_rng():
        other = write("other", recording_of(TinyClient(3), count=2))
    first, *rest = good.record.tensors
    broken = {first: good.record.tensors[first] / 0, **{n: good.record.tensors[n] for n in rest}}
    without = dataclasses.replace(good, weights={})
    files = [
        *(str(cut), other),
        *(write("nan", tensors=broken), write("baseless", without)),
        *(write("rateless", learning_rate=None, steps=None), write("uncounted", count=None)),
    ]
    problems = told(
        files, "--trainer.precision=bf16-mixed", model={"client_model": _client("Spare")}
    )
    words = [
        ("trainer.precision is bf16-mixed",),
        ("cut.safetensors", "damaged"),
        ("other.safetensors'", "The update has tensors of other shapes: 6.weight"),
        ("other.safetensors'", "The weights before training has tensors of other shapes"),
        ("nan.safetensors'", "infinite or undefined entries"),
        ("baseless.safetensors'", "is of another base"),
        ("rateless.safetensors'", "does not say the learning rate and the number of steps"),
        ("uncounted.safetensors'", "does not say how many images are behind the update"),
        ("Spare returns a tuple",),
    ]
    assert len(problems) == len(words), problems
    for problem, expected in zip(problems, words, strict=True):
        assert all(word in problem for word in expected), problem


class Spare(TinyClient):
    def forward(self, images):
        return super().forward(images), images


def _client(name):
    return {"class_path": f"{__name__}.{name}"}


def test_names_of_wrappers_are_no_problem(good, write, tmp_path):
    def wrapped(tensors):
        return {f"module._orig_mod.{name}": tensor for name, tensor in tensors.items()}

    changed = dataclasses.replace(
        good, weights=wrapped(good.weights), buffers=wrapped(good.buffers), weights_hash=None
    )
    record = good.record
    file = write("ddp", changed, tensors=wrapped(record.tensors), buffers=wrapped(record.buffers))
    settings = tiny_settings(tmp_path / "runs")
    for name in ("idx", "images", "defenses", "decoys"):
        del settings["data"][name]
    settings["data"]["records"] = [file]
    path = tmp_path / "records.yaml"
    path.write_text(yaml.safe_dump(settings))
    assert run_command(main, ["--config", str(path), "--budget=1"]) == 0


def test_a_record_without_its_weights_is_audited_with_the_same_trained_model(good, write, told):
    bare = dataclasses.replace(good, weights={})
    (problem,) = told([write("bare", bare)])
    assert "Load the weights of the same round" in problem
    unknown = dataclasses.replace(good, weights={}, weights_hash=None)
    (problem,) = told([write("unknown", unknown)])
    assert "neither the weights before training nor their hash" in problem


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"labels": [0, 1, 1]}, "is 3 by its labels, 2 by the recording"),
        ({"count": 5}, "is 5 by count, 2 by the recording"),
        ({"images": 3, "labels": [0, 1]}, "is 3 by its images, 2 by its labels, 2 by the rec"),
        ({"images": 2}, "Its images are given without their labels"),
        ({"labels": [0, -1]}, "has the label -1"),
        ({"labels": [0, 2]}, "set num_classes to at least 3"),
        ({"images": "nowhere", "labels": [0, 1]}, "names nowhere: there is no such file"),
        ({"images": [], "labels": [0, 1]}, "is empty: name a folder"),
        ({"imges": []}, "imges"),
        ({"labels": "x"}, "labels"),
    ],
)
def test_what_is_said_of_a_record_must_agree(told, good, tmp_path, entry, expected):
    if isinstance(entry.get("images"), int):
        entry = {**entry, "images": pictures(tmp_path / "given", private(entry["images"])[0])}
    (problem,) = told([{"file": str(tmp_path / "good.safetensors"), **entry}])
    assert expected in problem


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"idx": 0}, "data.idx is 0, which are private images of a split, beside data.records"),
        ({"client_batch": 2}, "data.client_batch is 2 beside data.records"),
        ({"lineup": "pictures"}, "no record has images"),
        ({"records": []}, "data.records is empty"),
        ({"records": ["*.none"]}, "has the pattern '*.none', which fits no file"),
        ({"records": ["nowhere.safetensors"]}, "names 'nowhere.safetensors': there is no such"),
    ],
)
def test_settings_that_do_not_go_with_records(told, good, tmp_path, settings, expected):
    (problem,) = told(**{"records": [str(tmp_path / "good.safetensors")], **settings})
    assert expected in problem


def test_a_file_is_named_once(told, good, tmp_path):
    file = str(tmp_path / "good.safetensors")
    (problem,) = told([file, {"file": file}])
    assert "more than once" in problem


def test_neither_images_nor_records(told, good):
    (problem,) = told(None)
    assert "data.images must be given" in problem
    assert "data.records" in problem


def test_a_lineup_is_for_records(told, good):
    (problem,) = told(None, images={"class_path": "tests.tiny.TinyImages"}, lineup="faces")
    assert "lineups are for the images behind data.records" in problem


def test_utility_is_not_measured_under_beliefs(told, good, tmp_path):
    utility = {"class_path": "ggl_lightning.federated.FederatedTraining"}
    (problem,) = told([str(tmp_path / "good.safetensors")], model={"utility": utility})
    assert "model.utility trains under data.defenses" in problem


def test_labels_that_an_attack_is_told_must_be_given(told, good, tmp_path):
    known = "--data.attacks.cma.init_args.known_label=true"
    (problem,) = told([str(tmp_path / "good.safetensors")], known)
    assert "'cma' is told the private labels (known_label)" in problem
    assert "good" in problem


def test_a_procedure_must_send_what_was_recorded(told, good, tmp_path):
    gradient = {"class_path": "ggl_lightning.clients.procedures.PlainGradient"}
    (problem,) = told([str(tmp_path / "good.safetensors")], model={"procedure": gradient})
    assert "The recording is of a difference, but PlainGradient" in problem
    assert "sends a gradient" in problem


def test_the_mode_of_batch_norm_must_be_known(told, write):
    (problem,) = told([write("modeless", mode=None)])
    assert "does not say in which mode batch-norm ran" in problem


def test_buffers_that_contradict_the_mode(told, write, good):
    file = write("still", buffers=good.buffers)
    (problem,) = told([file])
    assert "The record still: Batch-norm has seen 0 batches between the two states" in problem
    assert "set buffer_weight" in problem


def test_an_update_beyond_its_precision(told, write, good):
    huge = {name: torch.full_like(tensor, 1e30) for name, tensor in good.record.tensors.items()}
    (problem,) = told([write("huge", tensors=huge)])
    assert "whose square is beyond torch.float32" in problem
