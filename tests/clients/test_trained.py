"""Trained weights on disk: what loads, what is refused."""

import re

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from ggl_lightning.clients import MLP, ResNet18, TorchvisionClassifier, load_trained_client
from ggl_lightning.errors import UserError
from ggl_lightning.seeding import seeded
from tests.tiny import TinyClient


def tiny(seed: int = 0, num_classes: int = 2) -> TinyClient:
    with seeded(seed):
        return TinyClient(num_classes)


def same(model: torch.nn.Module, other: torch.nn.Module) -> bool:
    mine, theirs = model.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[n], theirs[n]) for n in mine)


def prefixed(prefix: str, state: dict) -> dict:
    return {prefix + name: tensor for name, tensor in state.items()}


KEYS = [
    *("state_dict", "model_state_dict", "model", "net", "network", "weights", "ema", "params"),
    *("module", "client", "model_weights"),
]
PREFIXES = [
    *("module.", "_orig_mod.", "model.", "backbone.", "net.", "network.", "encoder."),
    *(
        "module._orig_mod.",
        "_orig_mod.module.",
        "module.client_model.",
        "model.backbone._orig_mod.",
    ),
    "anything.at.all.",
]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        *(lambda state, key=key: {key: state, "epoch": 3, "lr": [0.1]} for key in KEYS),
        *(lambda state, prefix=prefix: prefixed(prefix, state) for prefix in PREFIXES),
        lambda state: {"checkpoint": {"model": {"state_dict": prefixed("module.", state)}}},
        lambda state: {"state_dict": {**prefixed("model.", state), "loss.weight": torch.ones(2)}},
        lambda state: {
            "model": state,
            "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []},
        },
        lambda state: {"model": state, "ema": {n: t.clone() for n, t in state.items()}},
        lambda state: {n.replace(".", "._orig_mod.", 1): t for n, t in state.items()},
    ],
)
def test_state_dicts_are_found_in_what_they_are_wrapped_in(tmp_path, wrap):
    trained, model = tiny(1), tiny(2)
    torch.save(wrap(trained.state_dict()), tmp_path / "weights.pt")
    metadata = load_trained_client(model, tmp_path / "weights.pt")
    assert same(model, trained)
    assert set(metadata.values()) == {None}


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model.", "backbone."])
def test_what_precedes_all_of_the_models_names_may_be_missing(tmp_path, prefix):
    trained, model = torch.nn.Sequential(), torch.nn.Sequential()
    trained.model, model.model = tiny(1), tiny(2)
    save_file(prefixed(prefix, tiny(1).state_dict()), tmp_path / "a.safetensors")
    load_trained_client(model, tmp_path / "a.safetensors")
    assert same(model, trained)


@pytest.mark.parametrize(
    ("saved", "places"),
    [
        ({"model": 1, "ema": 3}, "under 'model'; under 'ema'"),
        ({"state_dict": 1, "state_dict_ema": 3}, "under 'state_dict'; under 'state_dict_ema'"),
        ({"nets": {"a": 1, "b": 3}}, "under 'nets.a'; under 'nets.b'"),
    ],
)
def test_several_different_sets_are_refused_by_where_they_are(tmp_path, saved, places):
    def fill(value):
        if isinstance(value, dict):
            return {key: fill(inner) for key, inner in value.items()}
        return tiny(value).state_dict()

    torch.save(fill(saved), tmp_path / "two.pt")
    model = tiny(2)
    with pytest.raises(UserError, match=f"several sets of weights that fit and differ: {places}"):
        load_trained_client(model, tmp_path / "two.pt")
    assert same(model, tiny(2))


def test_several_different_sets_in_one_dictionary(tmp_path):
    state = {**prefixed("model.", tiny(1).state_dict()), **prefixed("ema.", tiny(3).state_dict())}
    torch.save(state, tmp_path / "two.pt")
    with pytest.raises(UserError, match=r"starting with 'model\.'; .* starting with 'ema\.'"):
        load_trained_client(tiny(2), tmp_path / "two.pt")


def test_a_part_of_another_network_is_not_taken_for_the_model(tmp_path):
    state = {**prefixed("stages.3.", tiny(1).state_dict()), "head.weight": torch.ones(2)}
    torch.save({"model": state, "epoch": 1}, tmp_path / "large.pt")
    with pytest.raises(UserError) as raised:
        load_trained_client(tiny(2), tmp_path / "large.pt")
    assert "0.weight is missing" in str(raised.value)
    assert "tensors under 'model' (stages.3.0.weight" in str(raised.value)
    assert "'epoch'" in str(raised.value)


def test_a_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save(tiny(1).state_dict(), tmp_path / "weights.pt")
    model = tiny(2)
    load_trained_client(model, "~/weights.pt")
    assert same(model, tiny(1))
    with pytest.raises(UserError, match=r"no home folder of ~nosuchuser is known"):
        load_trained_client(model, "~nosuchuser/weights.pt")


def test_torchvisions_own_files_fit_the_wrapped_classifier(tmp_path):
    theirs = torchvision.models.shufflenet_v2_x0_5(num_classes=4)
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    model = TorchvisionClassifier("shufflenet_v2_x0_5", num_classes=4)
    load_trained_client(model, tmp_path / "weights.pth")
    assert same(model.model, theirs)


def test_files_from_before_batches_were_counted(tmp_path):
    trained, model = tiny(1), tiny(2)
    state = trained.state_dict()
    del state["1.num_batches_tracked"]
    torch.save(state, tmp_path / "old.pt")
    load_trained_client(model, tmp_path / "old.pt")
    assert same(model, trained)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (tiny(1, num_classes=5), r"6.weight is (5, 128), expected (2, 128); 6.bias is (5,)"),
        (MLP(2, 8, 4), "0.weight is missing"),
        (torch.nn.Sequential(*tiny(1), torch.nn.Linear(2, 2)), "7.weight is not expected"),
    ],
)
def test_another_architecture_is_refused_by_names_and_shapes(tmp_path, other, expected):
    torch.save(other.state_dict(), tmp_path / "weights.pt")
    model = tiny(2)
    with pytest.raises(UserError, match=re.escape(expected)) as raised:
        load_trained_client(model, tmp_path / "weights.pt")
    assert "tests.tiny.TinyClient" in str(raised.value)
    assert same(model, tiny(2))  # untouched


def test_long_lists_of_differences_are_cut(tmp_path):
    torch.save(ResNet18(width=2).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"and \d+ more"):
        load_trained_client(tiny(), tmp_path / "weights.pt")


def test_the_file_names_the_class_it_was_trained_as(tmp_path):
    metadata = {"class_path": "elsewhere.Net", "val_accuracy": "0.875", "epoch": "3"}
    save_file(tiny(1).state_dict(), tmp_path / "a.safetensors", metadata)
    model = tiny(2)
    assert load_trained_client(model, tmp_path / "a.safetensors") == {
        "class_path": "elsewhere.Net",
        "val_accuracy": 0.875,
        "epoch": 3,
        "provenance": None,
    }
    with pytest.raises(UserError, match=r"trained as elsewhere\.Net"):
        load_trained_client(tiny(2, num_classes=3), tmp_path / "a.safetensors")


class NotATensor:
    pass


def test_files_that_cannot_be_used(tmp_path):
    (tmp_path / "damaged.pt").write_bytes(b"nothing of the kind")
    (tmp_path / "damaged.safetensors").write_bytes(b"nothing of the kind")
    torch.save({"state_dict": NotATensor()}, tmp_path / "code.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    broken = tiny(1).state_dict()
    broken["0.weight"][0, 0, 0, 0] = float("nan")
    torch.save(broken, tmp_path / "diverged.pt")
    for name, message in (
        ("missing.pt", "does not exist"),
        ("missing.safetensors", "does not exist"),
        ("damaged.pt", "damaged or not a PyTorch checkpoint"),
        ("damaged.safetensors", "damaged or not a safetensors file"),
        ("code.pt", "would run code from the file"),
        ("list.pt", "holds a list"),
        ("diverged.pt", r"undefined values: 0\.weight"),
    ):
        with pytest.raises(UserError, match=message):
            load_trained_client(tiny(), tmp_path / name)
