"""Defenses stay on the update's device: on the meta device, whatever leaves it fails."""

import ast
import copy
import dataclasses
from pathlib import Path

import pytest
import torch

import ggl_lightning.defenses
from ggl_lightning.clients import find_classifier_layer
from ggl_lightning.defenses import (
    Clipping,
    Compose,
    Compression,
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
)
from tests.tiny import client_side

SOURCES = sorted(Path(ggl_lightning.defenses.__file__).parent.glob("*.py"))


@pytest.mark.parametrize(
    "defense",
    [
        NoDefense(),
        Noise(),
        Clipping(0.7),
        LayerwiseClipping(0.7),
        Compression(90),
        Representation(80),
        Sign(),
        Quantization(3),
        Quantization(4, stochastic=True),
        LocalDP(),
        PercentilePrivacy(30),
        GaussianPrivacy(),
        ExcludeVars("bias"),
        Compose([Compression(50), Clipping(0.7)]),
    ],
    ids=lambda defense: type(defense).__name__,
)
def test_an_update_without_values_is_defended_where_it_is(defense):
    """Meta tensors have a device and no values: a detour over NumPy or the CPU would raise."""
    base = client_side(images=2)
    model = copy.deepcopy(base.model).to("meta")
    images = base.images.to("meta")
    client = dataclasses.replace(
        base,
        model=model,
        images=images,
        labels=base.labels.to("meta"),
        classifier=find_classifier_layer(model, images),
    )
    sent = defense([torch.empty_like(p) for p in model.parameters()], client)
    for tensor, parameter in zip(sent, model.parameters(), strict=True):
        assert tensor.device.type == "meta"
        assert tensor.shape == parameter.shape


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_no_defense_goes_through_numpy_or_the_cpu(source):
    tree = ast.parse(source.read_text())
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not names & {"cpu", "numpy", "tolist", "from_numpy"}
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert "numpy" not in imported
