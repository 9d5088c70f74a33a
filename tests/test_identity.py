"""Keys name what determines a result, and stay the same wherever the code of it stands."""

import functools
import hashlib
import json

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import StepLR

from ggl_lightning import identity as identity_module
from ggl_lightning.attacks import GenerativeGradientLeakage
from ggl_lightning.attacks.searches import AdamSearch, NevergradSearch
from ggl_lightning.audit.plan.case import Case, CaseSpec
from ggl_lightning.audit.plan.companions import Companions
from ggl_lightning.audit.plan.keys import CaseKeys, describe, key_version
from ggl_lightning.clients import GradientUpdate, LocalSGDUpdate
from ggl_lightning.clients.procedures import ClientSGD, LocalTraining, PlainGradient, TorchRates
from ggl_lightning.defenses import (
    DPSGD,
    Clipping,
    Compose,
    Compression,
    LayerwiseClipping,
    NoDefense,
    Noise,
    Quantization,
    Representation,
    Sign,
)
from ggl_lightning.federated import FederatedTraining
from ggl_lightning.identity import class_path, identity, module_hash, module_identity


class _Images(torch.utils.data.Dataset):
    def __init__(self, changed=None):
        self.changed = changed

    def __len__(self):
        return 6

    def __getitem__(self, index):
        image = torch.full((3, 2, 2), index / 8)
        return image + (0.5 if index == self.changed else 0), index % 2


def _key(defense=None, attack=None, rule=None, changed=None, role="attack", index=0):
    images = _Images(changed)
    labels = torch.arange(6) % 2
    companions = Companions(images, labels, decoys=2)
    keys = CaseKeys(rule or GradientUpdate(), "client", "prior", companions, {"scoring": {}})
    case = Case(
        CaseSpec((index,), "d", "a", 0, role),
        images[index][0][None],
        labels[index : index + 1],
        defense or NoDefense(),
        attack or GenerativeGradientLeakage(NevergradSearch()),
    )
    return keys(case)


def test_another_way_to_read_labels_off_batches_makes_other_results(monkeypatch):
    images, labels = _Images(), torch.arange(6) % 2

    def key(indices, known_label=False):
        attack = GenerativeGradientLeakage(NevergradSearch(), known_label=known_label)
        companions = Companions(images, labels, decoys=2)
        keys = CaseKeys(GradientUpdate(), "client", "prior", companions, {"scoring": {}})
        private = torch.stack([images[index][0] for index in indices])
        spec = CaseSpec(indices, "d", "a", 0, "attack")
        return keys(Case(spec, private, labels[list(indices)], NoDefense(), attack))

    before = [key((0,)), key((0, 1)), key((0, 1), known_label=True)]
    monkeypatch.setattr("ggl_lightning.audit.plan.keys.BATCH_LABELS", 3)
    after = [key((0,)), key((0, 1)), key((0, 1), known_label=True)]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True]


# Written down once: a key that changes makes every run of before foreign.
GOLDEN = {
    "plain": "v2-2a5be952f432dd7800affe13e9022b5a",
    "noise": "v2-33988a6e23822b5edff701c3a2b5f4f6",
    "composed": "v2-0c8c9d0ccdcb255b3e84c58a7b3dc352",
    "local": "v2-82cbdf3a835b5ac3de2da0ae09db5a7f",
    "other": "v2-8db7473dd6bb3b1211d084d4477e5c0f",
}


def test_keys_are_those_of_earlier_runs():
    adam = GenerativeGradientLeakage(AdamSearch(), budget=100, adaptive=True, use_weight=[1.0, 0.5])
    found = {
        "plain": _key(),
        "noise": _key(Noise(0.1)),
        "composed": _key(Compose([Clipping(2.0), Compression(90)]), adam),
        "local": _key(rule=LocalSGDUpdate(3, 0.05)),
        "other": _key(role="null_other"),
    }
    assert found == GOLDEN


def test_defaults_are_those_that_keys_leave_out():
    """Whoever changes a default raises the class's ``result_version``, then this number."""
    components = [
        *(Noise(), Clipping(), LayerwiseClipping(), Compression(), Representation()),
        *(Sign(), Quantization(), DPSGD(), LocalSGDUpdate(1), FederatedTraining()),
        *(NevergradSearch(), AdamSearch(), GenerativeGradientLeakage(AdamSearch())),
    ]
    text = json.dumps([describe(each) for each in components], sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "73d987b9b5203640"


def test_an_argument_at_its_default_changes_no_key():
    class Grown(Noise):
        def __init__(self, std: float = 0.01, later: str = "as before") -> None:
            super().__init__(std)
            self.later = later

    assert identity(Grown(0.5)).keys() == {"class", "std"}
    assert identity(Grown(0.5, "otherwise"))["later"] == "otherwise"


def test_a_procedure_is_known_by_its_settings_and_the_plain_gradient_by_its_first_name():
    assert _key(rule=PlainGradient()) == GOLDEN["plain"]
    weighted = [nn.CrossEntropyLoss(torch.tensor([1.0, weight])) for weight in (1.0, 2.0, 2.0)]
    ours, other, same = (_key(rule=PlainGradient(loss=loss)) for loss in weighted)
    assert ours != other == same
    procedures = [
        PlainGradient(mode="train"),
        LocalTraining(),
        LocalTraining(ClientSGD(0.02)),
        LocalTraining(schedule=TorchRates(functools.partial(StepLR, step_size=1))),
        LocalTraining(schedule=TorchRates(functools.partial(StepLR, step_size=2))),
    ]
    keys = [_key(rule=procedure) for procedure in procedures]
    assert len({*keys, GOLDEN["plain"]}) == 6
    assert keys == [_key(rule=procedure) for procedure in procedures]
    json.dumps([describe(procedure) for procedure in procedures])


def test_a_class_that_moved_or_changed_is_named_accordingly(monkeypatch):
    assert class_path(Noise) == "ggl_lightning.defenses.Noise"
    monkeypatch.setitem(identity_module.FORMER_PATHS, "ggl_lightning.defenses.Noise", "old.Noise")
    assert identity(Noise()) == {"class": "old.Noise"}
    monkeypatch.setattr(Noise, "result_version", 2, raising=False)
    assert identity(Noise()) == {"class": "old.Noise", "version": 2}


def test_a_decoy_of_other_content_is_another_case():
    assert _key(changed=1) == _key()  # of the other class
    assert _key(changed=2) != _key()


def test_versions_of_keys_are_told_apart():
    assert key_version(_key()) == 2
    assert key_version("0123456789abcdef0123456789abcdef") == 1
    assert key_version(None) == 1


class Act(nn.Module):
    """The same weights for any activation, which may be kept in many ways."""

    def __init__(self, act, kept):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        with torch.no_grad():
            self.linear.weight.fill_(0.5), self.linear.bias.zero_()
        function = getattr(F, act)
        match kept:
            case "text":
                self.act = act
            case "function":
                self._act = function
            case "in a list":
                self.acts = [function]
            case "module":
                self.act = nn.ReLU() if act == "relu" else nn.Sigmoid()
            case "closure":
                self.act = lambda x: function(x)
            case "partial":
                self.act = functools.partial(self.apply_it, function)
            case "method":
                self.act = self.relu if act == "relu" else self.sigmoid

    def apply_it(self, function, x):
        return function(x)

    def relu(self, x):
        return x.relu()

    def sigmoid(self, x):
        return x.sigmoid()


@pytest.mark.parametrize(
    "kept", ["text", "function", "in a list", "module", "closure", "partial", "method"]
)
def test_a_networks_settings_count_however_they_are_kept(kept):
    assert module_hash(Act("relu", kept)) == module_hash(Act("relu", kept))
    assert module_hash(Act("relu", kept)) != module_hash(Act("sigmoid", kept))


def test_a_networks_weights_frozen_parts_and_mode_of_operation_count():
    seen = {module_hash(Act("relu", "text"))}
    for change in (
        lambda model: model.linear.weight.data.mul_(2),
        lambda model: model.linear.bias.requires_grad_(False),
        lambda model: model.register_buffer("more", torch.zeros(1)),
        lambda model: setattr(model, "scale", torch.ones(1)),
    ):
        model = Act("relu", "text")
        change(model)
        seen.add(module_hash(model))
    assert len(seen) == 5
    stride = (nn.Conv2d(3, 3, 3, stride=1), nn.Conv2d(3, 3, 3, stride=2))
    assert module_identity(stride[0]) != module_identity(stride[1])
    heads = (nn.MultiheadAttention(8, 2), nn.MultiheadAttention(8, 4))
    assert module_identity(heads[0]) != module_identity(heads[1])
    model = Act("relu", "text")
    before = module_identity(model)
    assert module_identity(model.eval()) == before
