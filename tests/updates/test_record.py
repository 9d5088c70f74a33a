import importlib
import subprocess
import sys

import pytest
import torch

from ggl_lightning.errors import UserError
from ggl_lightning.updates import Recording, UpdateRecord, weights_after
from tests.updates.toys import net, recording_of

HEAVY = [
    *("pytorch_lightning", "torchvision", "torchmetrics", "jsonargparse", "nevergrad", "botorch"),
    *("scipy", "PIL", "matplotlib", "pyarrow", "tensorboard", "yaml", "tqdm", "flwr", "nvflare"),
]


def test_a_users_system_needs_pytorch_and_safetensors_alone():
    absent = "".join(f"sys.modules[{name!r}] = None\n" for name in HEAVY)
    code = f"import sys\n{absent}import ggl_lightning.updates"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=900)


@pytest.mark.parametrize(("name", "package"), [("flower", "flwr"), ("nvflare", "nvflare")])
def test_a_missing_framework_is_named_with_what_installs_it(monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"ggl_lightning.updates.{name}", raising=False)
    for module in [module for module in sys.modules if module.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(ImportError, match=rf"pip install 'ggl-lightning\[{name}\]'"):
        importlib.import_module(f"ggl_lightning.updates.{name}")


def test_all_that_is_wrong_with_a_record_is_said_at_once():
    with pytest.raises(UserError) as raised:
        UpdateRecord(
            {"steps": torch.ones(2, dtype=torch.int64)},
            "delta",
            count=0,
            learning_rate=float("nan"),
            steps=2.5,
            mode="training",
        )
    assert len(raised.value.problems) == 6
    with pytest.raises(UserError, match="no tensors"):
        UpdateRecord({}, "gradient")


def test_a_record_holds_values_and_no_graph():
    weight = torch.ones(2, requires_grad=True)
    record = UpdateRecord({"weight": weight * 2}, "gradient")
    assert not record.tensors["weight"].requires_grad


def test_a_record_says_what_it_is():
    record = recording_of(net(), count=8, mode="train").record
    assert repr(record) == (
        "UpdateRecord(difference of 561 entries in 8 tensors, 3 buffers, count=8, mode=train)"
    )
    assert repr(Recording(record)).endswith("without the weights before)")


def test_weights_after_training_are_those_before_plus_the_difference():
    recording = recording_of(net())
    after = weights_after(recording)
    assert list(after) == list(recording.weights)
    for name, before in recording.weights.items():
        change = recording.record.tensors.get(name, torch.zeros(()))
        torch.testing.assert_close(after[name], before + change)


def test_weights_after_training_need_a_difference_and_a_base():
    record = recording_of(net()).record
    with pytest.raises(UserError, match="no weights before"):
        weights_after(Recording(record))
    with pytest.raises(UserError, match="gradient does not say"):
        weights_after(Recording(UpdateRecord(record.tensors, "gradient")))
