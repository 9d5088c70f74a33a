"""The population's pass gives the numbers of a float64 loop, over layers, defenses, distances."""

import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

from ggl_lightning.attacks.matching import layer_rule
from ggl_lightning.attacks.matching.update_distances import Distance, UpdateDistances
from ggl_lightning.clients import GradientUpdate, LeNet, ResNet18
from ggl_lightning.defenses import Unchanged
from ggl_lightning.defenses.clipping import ClipToNorm, update_norm
from ggl_lightning.defenses.compose import AdaptInOrder
from ggl_lightning.defenses.layerwise_clipping import ClipToNorms
from ggl_lightning.defenses.representation import KeepColumns
from tests.attacks.matching.reference import reference_distances, reference_update

SIZE = 8
DISTANCES = [Distance.l2, Distance.cosine]
PRECISIONS = [(torch.float32, 1e-4), (torch.float64, 1e-9)]


class Block(nn.Module):
    """The layer under test between a convolution and a classifier that suits it."""

    def __init__(self, middle, channels_last=False):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.middle = middle.eval()
        self.channels_last = channels_last
        self.head = nn.Linear(self.features(torch.zeros(1, 3, SIZE, SIZE)).shape[1], 4)

    def features(self, images):
        x = torch.tanh(self.stem(images))
        if self.channels_last:
            x = x.permute(0, 2, 3, 1)
        return torch.tanh(self.middle(x)).flatten(1)

    def forward(self, images):
        return self.head(self.features(images))


def batch_norm(layer):
    generator = torch.Generator().manual_seed(3)
    layer.running_mean.copy_(torch.randn(layer.num_features, generator=generator))
    layer.running_var.copy_(torch.rand(layer.num_features, generator=generator) + 0.5)
    return layer


def token_mixer():
    return nn.Sequential(nn.Flatten(1, 2), nn.LayerNorm(6), nn.Linear(6, 5, bias=False))


MIDDLES = {
    "conv": lambda: nn.Conv2d(6, 5, 3),
    "conv without bias": lambda: nn.Conv2d(6, 5, 3, padding=1, bias=False),
    "conv 1x1": lambda: nn.Conv2d(6, 4, 1),
    "conv stride": lambda: nn.Conv2d(6, 4, 3, stride=2, padding=1),
    "conv stride that skips pixels": lambda: nn.Conv2d(6, 4, 2, stride=3),
    "conv dilation": lambda: nn.Conv2d(6, 4, (3, 2), dilation=(2, 3), padding=(1, 0)),
    "conv groups": lambda: nn.Conv2d(6, 9, 3, stride=(1, 2), padding=(0, 1), groups=3),
    "conv depthwise": lambda: nn.Conv2d(6, 6, 3, padding=1, groups=6),
    "conv same": lambda: nn.Conv2d(6, 4, (2, 3), padding="same"),
    "conv valid": lambda: nn.Conv2d(6, 4, 3, padding="valid"),
    "conv circular": lambda: nn.Conv2d(6, 4, 3, padding=1, padding_mode="circular"),
    "conv reflect": lambda: nn.Conv2d(6, 4, 3, padding=(2, 1), padding_mode="reflect", stride=2),
    "conv transpose": lambda: nn.ConvTranspose2d(6, 4, 3),
    "conv transpose odd": lambda: nn.ConvTranspose2d(
        6, 4, (3, 2), stride=(2, 3), padding=1, output_padding=(1, 2), groups=2, bias=False
    ),
    "batch norm": lambda: batch_norm(nn.BatchNorm2d(6)),
    "batch norm 1d": lambda: nn.Sequential(nn.Flatten(2), batch_norm(nn.BatchNorm1d(6))),
    "batch norm of vectors": lambda: nn.Sequential(nn.Flatten(), batch_norm(nn.BatchNorm1d(384))),
    "batch norm without affine": lambda: batch_norm(nn.BatchNorm2d(6, affine=False)),
    "group norm": lambda: nn.GroupNorm(3, 6),
    "layer norm": lambda: nn.LayerNorm((6, SIZE, SIZE)),
    "layer norm without bias": lambda: nn.LayerNorm(SIZE, bias=False),
    "wide linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(384, 50)),
    "overwriting relu": lambda: nn.Sequential(batch_norm(nn.BatchNorm2d(6)), nn.ReLU(True)),
    "residual": lambda: BasicBlock(6, 6),
}
LAST = {
    "tokens": token_mixer,
    "linear on rows": lambda: nn.Linear(6, 3),
    "layer norm last": lambda: nn.LayerNorm(6),
}


def build(name, seed=0):
    torch.manual_seed(seed)
    model = Block(LAST[name](), True) if name in LAST else Block(MIDDLES[name]())
    return randomised(model).eval()


def randomised(model):
    """Affine parameters away from 1 and 0, which would hide mistakes."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) / 4)
    return model


def case(model, images, dtype, candidates=4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(candidates + 1, images, 3, SIZE, SIZE, generator=generator) * 2 - 1
    labels = torch.arange(images) % 2
    received = [tensor.to(dtype) for tensor in reference_update(model, pixels[-1], labels)]
    return pixels[:-1].to(dtype), labels, received


def assert_exact(found, expected, received, tolerance):
    """Relative to the losses, which are sums over tensors, and per tensor, down to rounding."""
    scale = torch.stack([tensor.double().square().sum() for tensor in received])
    rounding = tolerance * scale.sum() / 1e6
    found = found.double()
    losses = expected.sum(dim=1)
    assert ((found.sum(dim=1) - losses).abs() <= tolerance * losses + rounding).all()
    assert ((found - expected).abs() <= tolerance * (expected + scale / 100) + rounding).all()


@pytest.mark.parametrize("gram", [True, False])
@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("name", [*MIDDLES, *LAST])
def test_every_layer_rule(name, images, gram, monkeypatch):
    for module in (layer_rule,):
        monkeypatch.setattr(module, "gram_is_cheaper", lambda *_: gram)
    for dtype, tolerance in PRECISIONS:
        model = build(name).to(dtype)
        candidates, labels, received = case(model, images, dtype)
        for distance in DISTANCES:
            distances = UpdateDistances(model, received, GradientUpdate(), None, distance)
            found = distances(candidates, labels)
            assert distances.way == "in closed form"
            assert not distances.general_parameters
            assert found.dtype == dtype
            expected = reference_distances(model, candidates, labels, received, distance)
            assert_exact(found, expected, received, tolerance)


def adaptations(update, model):
    norms = [tensor.norm().item() for tensor in update]
    weight = len(update) - 2
    features = torch.arange(model.head.in_features)
    keep, other = features % 3 != 0, features % 4 != 1
    total = update_norm(update).item()
    steps = {
        "global": ClipToNorm(0.3 * total),
        "smaller": ClipToNorm(0.1 * total),
        "layers": ClipToNorms([norm * (0.05 + i % 3 / 10) for i, norm in enumerate(norms)]),
        "columns": KeepColumns(keep, weight),
        "other columns": KeepColumns(other, weight),
        "nothing": Unchanged({}),
    }

    def in_order(*names):
        return AdaptInOrder({name: steps[name] for name in names})

    return {
        "clipped, then columns": in_order("global", "columns"),
        "columns, then clipped": in_order("columns", "global"),
        "columns between clippings": in_order("global", "columns", "smaller"),
        "layers, columns, nothing, global": in_order("layers", "columns", "nothing", "global"),
        "global, columns, layers, columns": in_order(
            "global", "columns", "layers", "other columns"
        ),
        "one order in another": AdaptInOrder(
            {"0": in_order("global", "columns"), "1": in_order("other columns", "smaller")}
        ),
        "unchanged": Unchanged({}),
        "clipped": ClipToNorm(0.3 * update_norm(update).item()),
        "not clipped": ClipToNorm(10 * update_norm(update).item()),
        "clipped layer by layer": ClipToNorms(
            [norm * (0.2 + i % 3) for i, norm in enumerate(norms)]
        ),
        "columns": KeepColumns(keep, weight),
    }


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("name", adaptations([torch.ones(2)] * 3, build("conv")))
def test_every_adaptation_with_a_closed_form(name, images, distance):
    for dtype, tolerance in PRECISIONS:
        model = build("conv stride").to(dtype)
        candidates, labels, update = case(model, images, dtype)
        adaptation = adaptations(update, model)[name]
        received = adaptation(update)
        distances = UpdateDistances(model, received, GradientUpdate(), adaptation, distance)
        found = distances(candidates, labels)
        assert distances.way == "in closed form"
        expected = reference_distances(model, candidates, labels, received, distance, adaptation)
        assert_exact(found, expected, received, tolerance)


@pytest.mark.parametrize("clipped", [False, True])
@pytest.mark.parametrize("build_model", [lambda: ResNet18(width=8), lambda: LeNet(image_size=16)])
def test_accurate_when_a_candidate_is_almost_the_private_image(build_model, clipped):
    """To 1e-3 where the distance is 1e-4 of that of an unrelated image, and below."""
    torch.manual_seed(0)
    model = build_model().eval()
    private, other, direction = torch.rand(3, 1, 3, 16, 16) * 2 - 1
    steps = torch.tensor([1e-1, 1e-2, 3e-3, 3e-4])
    candidates = torch.stack([other, *[private + step * direction for step in steps]])
    labels = torch.tensor([1])
    update = [tensor.float() for tensor in reference_update(model, private, labels)]
    adaptation = ClipToNorm(update_norm(update).item() / 3) if clipped else None
    received = update if adaptation is None else adaptation(update)
    distances = UpdateDistances(model, received, GradientUpdate(), adaptation)
    found = distances(candidates, labels).double().sum(dim=1)
    assert not distances.one_by_one
    expected = reference_distances(
        model, candidates, labels, received, Distance.l2, adaptation
    ).sum(dim=1)
    assert expected.min() < 1e-4 * expected[0]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-9 * expected[0].item())


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("clipped", [False, True])
@pytest.mark.parametrize("name", ["conv groups", "conv transpose odd", "tokens", "residual"])
def test_gradients_with_respect_to_the_images(name, clipped, distance):
    model = build(name).double()
    candidates, labels, received = case(model, 2, torch.float64)
    adaptation = ClipToNorm(update_norm(received).item() / 2) if clipped else None
    together = UpdateDistances(model, received, GradientUpdate(), adaptation, distance)
    # A subclass of the rule has no closed form.
    rule = type("SameUpdate", (GradientUpdate,), {})()
    alone = UpdateDistances(model, received, rule, adaptation, distance)
    weights = torch.rand(len(candidates), len(received), dtype=torch.float64)
    gradients = []
    for distances in (together, alone):
        images = candidates.clone().requires_grad_()
        (distances(images, labels) * weights).sum().backward()
        gradients.append(images.grad)
    assert not together.one_by_one
    assert alone.one_by_one
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)
