"""ConvNet, LeNet, MLP and torchvision's classifiers: published sizes, shapes, refusals."""

import pytest
import torch
import torchvision
from torch import nn

from ggl_lightning.clients import (
    MLP,
    ConvNet,
    LeNet,
    TorchvisionClassifier,
    client_update,
    find_classifier_layer,
)
from ggl_lightning.errors import UserError
from ggl_lightning.seeding import seeded


def n_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# ConvNet: the count printed in Geiping et al. 2020. LeNet: 3*12*25+12 + 2*(12*12*25+12) + 7690.
# MLP: 3072*1024+1024 + 2*(1024*1024+1024) + 10250. ResNet-18: torchvision's own documentation.
@pytest.mark.parametrize(
    ("model", "parameters", "tensors", "features"),
    [
        (ConvNet(), 2_904_970, 34, 2304),
        (LeNet(), 15_826, 8, 768),
        (MLP(), 5_256_202, 8, 1024),
        (TorchvisionClassifier(), 11_689_512, 62, 512),
    ],
)
def test_published_architectures(model, parameters, tensors, features):
    assert n_parameters(model) == parameters
    assert len(list(model.parameters())) == tensors
    last_layer = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    assert last_layer.in_features == features


@pytest.mark.parametrize(
    "model",
    [
        ConvNet(num_classes=5, image_size=9, width=2),
        ConvNet(num_classes=5, image_size=64, width=2),
        LeNet(num_classes=5, image_size=8, width=3),
        LeNet(num_classes=5, image_size=29, width=3),
        MLP(num_classes=5, image_size=4, width=6, hidden_layers=2),
        MLP(num_classes=5, image_size=4, hidden_layers=0),
        TorchvisionClassifier("shufflenet_v2_x0_5", num_classes=5, image_size=32),
    ],
    ids=lambda model: f"{type(model).__name__}{getattr(model, 'image_size', '')}",
)
def test_every_parameter_gets_a_gradient_and_the_last_layer_is_found(model):
    size = getattr(model, "image_size", 32)
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    model.eval()
    assert model(images).shape == (2, 5)
    update = client_update(model, images, torch.tensor([1, 4]))
    shapes = [tensor.shape for tensor in update]
    assert shapes == [parameter.shape for parameter in model.parameters()]
    assert find_classifier_layer(model, images).layer.out_features == 5


@pytest.mark.parametrize("model", [ConvNet(width=1), LeNet(), MLP(width=2)])
def test_images_of_another_size_are_refused_by_name(model):
    with pytest.raises(UserError, match=r"\(3, 32, 32\) and got \(3, 28, 28\)"):
        model(torch.zeros(1, 3, 28, 28))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ConvNet(image_size=8), "at least 9"),
        (lambda: ConvNet(width=0), "width is 0"),
        (lambda: LeNet(num_classes=0), "num_classes is 0"),
        (lambda: LeNet(init_bound=0.0), "init_bound"),
        (lambda: MLP(hidden_layers=-1), "hidden_layers is -1"),
        (lambda: MLP(image_size=0), "image_size is 0"),
        (lambda: TorchvisionClassifier("resnet_18"), "Did you mean 'resnet18'"),
        (lambda: TorchvisionClassifier("fcn_resnet50"), "not known"),
        (lambda: TorchvisionClassifier("inception_v3", image_size=32), "at least 75"),
        (lambda: TorchvisionClassifier("vit_b_16", image_size=40), "multiple of .* 16"),
    ],
)
def test_sizes_and_names_out_of_range(build, message):
    with pytest.raises(UserError, match=message):
        build()


def test_lenet_starts_uniform_as_published():
    with seeded(0):
        values = torch.cat([parameter.flatten() for parameter in LeNet().parameters()])
    assert values.abs().max() <= 0.5
    # The standard deviation of a uniform variable of width 1.
    assert values.std().item() == pytest.approx(12**-0.5, rel=0.02)


def test_resnet18_is_torchvisions_in_parameters_order_and_output():
    with seeded(3):
        ours = TorchvisionClassifier("resnet18", num_classes=7).eval()
    with seeded(3):
        theirs = torchvision.models.resnet18(num_classes=7).eval()
    for mine, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, reference)
    images = torch.zeros(1, 3, 64, 64)
    assert torch.equal(ours(images), theirs(images))


def test_auxiliary_heads_do_not_hide_in_the_update():
    model = TorchvisionClassifier("googlenet", num_classes=3, image_size=32)
    assert model.train()(torch.zeros(2, 3, 64, 64)).shape == (2, 3)
    assert not [name for name, _ in model.named_parameters() if "aux" in name]


def test_vision_transformers_take_the_asked_size():
    model = TorchvisionClassifier("vit_b_32", num_classes=3, image_size=64).eval()
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 3)
