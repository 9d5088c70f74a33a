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


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {"state_dict": {f"model.{name}": t for name, t in state.items()}},
        lambda state: {f"module.client_model.{name}": tensor for name, tensor in state.items()},
    ],
)
def test_plain_state_dicts_with_and_without_prefixes(tmp_path, wrap):
    trained, model = tiny(1), tiny(2)
    torch.save(wrap(trained.state_dict()), tmp_path / "weights.pt")
    metadata = load_trained_client(model, tmp_path / "weights.pt")
    assert same(model, trained)
    assert set(metadata.values()) == {None}


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
