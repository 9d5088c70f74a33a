"""What holds for every defense."""

import dataclasses
import inspect

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser

import ggl_lightning.defenses as package
from ggl_lightning.clients import client_update
from ggl_lightning.defenses import (
    DPSGD,
    Clipping,
    Compose,
    Compression,
    Defense,
    ExcludeVars,
    GaussianPrivacy,
    LayerwiseClipping,
    LocalDP,
    NoDefense,
    Noise,
    PercentilePrivacy,
    Quantization,
    Representation,
    Sign,
    SVTPrivacy,
)
from tests.defenses.updates import copies, equal, update_like
from tests.tiny import client_side

CLIENT = client_side(images=2)

# Those whose defended update an attacker with the right image can reproduce.
REPRODUCIBLE = [
    Clipping(0.7),
    LayerwiseClipping(0.7),
    Compression(20),
    Compression(90),
    Representation(80),
    Sign(),
    Quantization(3),
    Quantization(8),
    PercentilePrivacy(60, gamma=0.02, steps=2),
    ExcludeVars("^0"),
    Compose([Compression(50), Clipping(0.7)]),
    Compose([Representation(50), Sign()]),
]
ANY_UPDATE = [
    *REPRODUCIBLE,
    *(NoDefense(), Noise(), Quantization(4, stochastic=True)),
    *(LocalDP(0.7), GaussianPrivacy(), SVTPrivacy(0.3, gamma=0.01)),
]
ALL = [*ANY_UPDATE, DPSGD(0.7, noise_multiplier=0.1), Compose([DPSGD(), Sign()])]


def name(defense):
    return "_".join([type(defense).__name__, *(str(v) for v in vars(defense).values())])[:40]


updates = st.builds(
    update_like,
    st.just(list(CLIENT.model.parameters())),
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([1e-4, 1e-2, 1.0, 100.0]),
    zeros=st.sampled_from([0.0, 0.3, 0.95, 1.0]),
    decimals=st.sampled_from([None, 0, 1]),
)


@pytest.mark.parametrize("defense", ANY_UPDATE, ids=name)
@settings(max_examples=15)
@given(update=updates)
def test_neither_defense_nor_adaptation_changes_what_it_is_given(defense, update):
    before = copies(update)
    sent = defense(update, CLIENT)
    as_sent = copies(sent)
    adaptation = defense.adapt(sent, CLIENT.classifier)
    if adaptation is not None:
        adaptation(update)
    assert equal(update, before)
    assert equal(sent, as_sent)


def test_dp_sgd_changes_neither_update_nor_images_nor_model():
    client = client_side(images=2)
    update = client_update(client.model, client.images, client.labels)
    held = [*update, client.images, *client.model.parameters()]
    before = copies(held)
    DPSGD(0.1).adapt(DPSGD(0.1)(update, client), client.classifier)(update)
    assert equal(held, before)


@pytest.mark.parametrize("defense", REPRODUCIBLE, ids=name)
@settings(max_examples=30)
@given(update=updates)
def test_the_right_candidate_is_adapted_to_the_received_update(defense, update):
    received = defense(update, CLIENT)
    adapted = defense.adapt(received, CLIENT.classifier)(update)
    for ours, theirs in zip(adapted, received, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "defense",
    [Compression(20), Compression(90), Representation(80), Sign(), Quantization(5)],
    ids=name,
)
@settings(max_examples=30)
@given(update=updates)
def test_what_prunes_or_rounds_does_it_once(defense, update):
    once = defense(update, CLIENT)
    assert equal(defense(once, CLIENT), once)


DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("defense", ALL, ids=name)
def test_device_dtype_and_shapes_are_kept(defense, dtype, device):
    base = client_side(images=2)
    model = base.model.to(device, dtype)
    client = dataclasses.replace(base, model=model, images=base.images.to(device, dtype))
    client = dataclasses.replace(client, labels=base.labels.to(device))
    update = client_update(model, client.images, client.labels)
    sent = defense(update, client)
    adaptation = defense.adapt(sent, client.classifier)
    results = [sent] if adaptation is None else [sent, adaptation(update)]
    for result in results:
        for tensor, original in zip(result, update, strict=True):
            assert tensor.shape == original.shape
            assert tensor.dtype == dtype
            assert tensor.device == original.device
            assert not tensor.requires_grad
    if adaptation is not None:
        assert all(isinstance(value, float) for value in adaptation.estimate.values())


@pytest.mark.parametrize("defense", ALL, ids=name)
def test_second_order_gradients_reach_the_image(defense):
    """A descent on images differentiates through the update and the adaptation after it."""
    client = client_side(images=2)
    update = client_update(client.model, client.images, client.labels)
    adaptation = defense.adapt(defense(update, client), client.classifier)
    if adaptation is None:
        assert isinstance(defense, Noise | NoDefense)
        return
    images = client.images.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(client.model(images), client.labels)
    candidate = torch.autograd.grad(loss, list(client.model.parameters()), create_graph=True)
    total = sum(tensor.square().sum() for tensor in adaptation(list(candidate)))
    (gradient,) = torch.autograd.grad(total, images)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("defense", ALL, ids=name)
def test_public_attributes_are_the_parameters(defense):
    parameters = set(inspect.signature(type(defense).__init__).parameters) - {"self"}
    if type(defense).__init__ is object.__init__:
        parameters = set()
    assert {key for key in vars(defense) if not key.startswith("_")} == parameters


CHOSEN_IN_YAML = """
clipping: {class_path: Clipping, init_args: {bound: 2.5}}
layerwise: {class_path: LayerwiseClipping, init_args: {bound: 3}}
compression: {class_path: Compression, init_args: {percentage: 90}}
representation: {class_path: Representation, init_args: {pruning_rate: 80}}
noise: {class_path: Noise, init_args: {std: 0.1}}
dp: {class_path: DPSGD, init_args: {bound: 2, noise_multiplier: 0.5, steps: 3}}
sign: {class_path: Sign}
quantization: {class_path: Quantization, init_args: {bits: 4, stochastic: true}}
local_dp: {class_path: LocalDP, init_args: {clipping_norm: 0.5, epsilon: 2}}
percentile: {class_path: PercentilePrivacy, init_args: {percentile: 30, gamma: 0.1}}
gaussian: {class_path: GaussianPrivacy, init_args: {sigma0: 0.2}}
svt: {class_path: SVTPrivacy, init_args: {fraction: 0.2, epsilon_release: 3}}
named: {class_path: ExcludeVars, init_args: {exclude_vars: [fc.weight, fc.bias]}}
matched: {class_path: ExcludeVars, init_args: {exclude_vars: ^fc}}
none: {class_path: NoDefense}
both:
  class_path: Compose
  init_args:
    defenses:
      - {class_path: Compression, init_args: {percentage: 50}}
      - {class_path: Noise}
"""


def test_every_defense_can_be_chosen_in_yaml():
    values = yaml.safe_load(CHOSEN_IN_YAML)
    text = yaml.safe_dump(values).replace("class_path: ", "class_path: ggl_lightning.defenses.")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--defenses", type=dict[str, Defense])
    parsed = parser.parse_string(yaml.safe_dump({"defenses": yaml.safe_load(text)}))
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes  # before 4.49
    built = instantiate(parsed).defenses
    assert {type(defense).__name__ for defense in built.values()} == {
        name
        for name, member in vars(package).items()
        if isinstance(member, type) and issubclass(member, Defense) and member is not Defense
    }
    for key, value in values.items():
        for parameter, expected in value.get("init_args", {}).items():
            if key != "both":
                assert getattr(built[key], parameter) == expected
    assert [type(defense) for defense in built["both"].defenses] == [Compression, Noise]
    assert built["both"].defenses[0].percentage == 50
