import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ggl_lightning.clients import (
    ResNet18,
    TorchvisionClassifier,
    client_update,
    find_classifier_layer,
)
from ggl_lightning.errors import UserError


def test_resnet18_is_the_published_architecture():
    model = ResNet18(num_classes=2, width=64)
    shapes = [tuple(p.shape) for p in model.parameters()]
    assert len(shapes) == 62
    # Known size of the small-image ResNet-18 with 10 classes, less the 8 missing classes' rows.
    assert sum(p.numel() for p in model.parameters()) == 11_173_962 - 8 * 513
    assert shapes[0] == (64, 3, 3, 3)
    assert shapes[-2:] == [(2, 512), (2,)]


def test_resnet18_keeps_resolution_through_the_stem_and_first_stage():
    model = ResNet18(width=4).eval()
    images = torch.zeros(1, 3, 32, 32)
    assert model.layer1(model.relu(model.bn1(model.conv1(images)))).shape == (1, 4, 32, 32)
    assert model(images).shape == (1, 2)


@pytest.mark.parametrize("arguments", [{"width": 0}, {"num_classes": -1}])
def test_resnet18_refuses_sizes_that_are_not_positive(arguments):
    with pytest.raises(UserError, match="greater than 0"):
        ResNet18(**arguments)


def test_update_equals_backward_in_any_grad_mode_and_leaves_grad_alone():
    torch.manual_seed(0)
    model = ResNet18(width=4).eval()
    images, labels = torch.randn(2, 3, 32, 32), torch.tensor([0, 1])
    with torch.no_grad():
        update = client_update(model, images, labels)
    assert all(p.grad is None for p in model.parameters())
    assert not any(tensor.requires_grad for tensor in update)
    F.cross_entropy(model(images), labels).backward()
    for tensor, parameter in zip(update, model.parameters(), strict=True):
        torch.testing.assert_close(tensor, parameter.grad)


class _DefinedBackwards(nn.Module):
    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.last = last
        self.first = nn.Conv2d(3, 4, 3)

    def forward(self, images):
        return self.last(self.first(images).mean(dim=(2, 3)))


def test_classifier_layer_is_found_by_execution_not_by_definition():
    model = _DefinedBackwards(nn.Linear(4, 5))
    found = find_classifier_layer(model, torch.zeros(1, 3, 8, 8))
    parameters = list(model.parameters())
    assert found.layer is model.last
    assert parameters[found.weight_index] is model.last.weight
    assert parameters[found.bias_index] is model.last.bias
    assert found.weight_index == 0


def test_classifier_layer_without_bias():
    found = find_classifier_layer(
        _DefinedBackwards(nn.Linear(4, 5, bias=False)), torch.zeros(1, 3, 8, 8)
    )
    assert found.bias_index is None


def test_model_that_does_not_end_in_linear_is_refused():
    model = nn.Sequential(nn.Conv2d(3, 2, 8), nn.Flatten())
    with pytest.raises(UserError, match=r"must end in torch\.nn\.Linear.*Conv2d"):
        find_classifier_layer(model, torch.zeros(1, 3, 8, 8))
    with pytest.raises(UserError, match="none"):
        find_classifier_layer(nn.Flatten(), torch.zeros(1, 3, 8, 8))


class _WithToken(nn.Module):
    """Has a parameter of its own, which it uses before or after its last layer."""

    def __init__(self, scale_logits: bool) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.ones(4))
        self.scale_logits = scale_logits
        self.body = _DefinedBackwards(nn.Linear(4, 4))
        self.head = nn.Linear(4, 5)

    def forward(self, images):
        features = self.body(images)
        if self.scale_logits:
            return self.head(features) * self.token.sum()
        return self.head(features * self.token)


def test_a_model_with_parameters_of_its_own_is_looked_into():
    model = _WithToken(scale_logits=False)
    found = find_classifier_layer(model, torch.zeros(1, 3, 8, 8))
    assert found.layer is model.head
    assert list(model.parameters())[found.weight_index] is model.head.weight
    with pytest.raises(UserError, match="last layer with parameters is _WithToken"):
        find_classifier_layer(_WithToken(scale_logits=True), torch.zeros(1, 3, 8, 8))


def test_the_last_layer_of_a_vision_transformer():
    model = TorchvisionClassifier("vit_b_32", num_classes=3, image_size=32).eval()
    found = find_classifier_layer(model, torch.zeros(1, 3, 32, 32))
    assert found.layer.out_features == 3
