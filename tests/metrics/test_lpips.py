"""LPIPS against a float64 computation from its paper, from local files only."""

from pathlib import Path

import pytest
import torch
import torchmetrics
from torch.nn import functional as F

from ggl_lightning.errors import UserError
from ggl_lightning.metrics import LPIPS, build_reconstruction_metrics, lpips_network
from ggl_lightning.metrics.lpips import SMALLEST_IMAGE
from tests.metrics.conftest import random_images

# Layers of torchvision's `features` as (index, stride, padding), pools as (kernel,), and "tap"
# after the activations that LPIPS compares: relu1_2, 2_2, 3_3, 4_3, 5_3 and relu1 to relu5.
ARCHITECTURES = {
    "vgg": [
        *[(0, 1, 1), (2, 1, 1), "tap", (2,), (5, 1, 1), (7, 1, 1), "tap", (2,)],
        *[(10, 1, 1), (12, 1, 1), (14, 1, 1), "tap", (2,)],
        *[(17, 1, 1), (19, 1, 1), (21, 1, 1), "tap", (2,), (24, 1, 1), (26, 1, 1), (28, 1, 1)],
        "tap",
    ],
    "alex": [
        *[(0, 4, 2), "tap", (3,), (3, 1, 2), "tap", (3,), (6, 1, 1), "tap", (8, 1, 1), "tap"],
        *[(10, 1, 1), "tap"],
    ],
}


def activations(backbone: str, state: dict, images: torch.Tensor) -> list[torch.Tensor]:
    shift = torch.tensor([-0.030, -0.088, -0.188], dtype=torch.float64).view(3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450], dtype=torch.float64).view(3, 1, 1)
    maps = (images.double() - shift) / scale
    taps = []
    for layer in ARCHITECTURES[backbone]:
        if layer == "tap":
            taps.append(maps)
        elif len(layer) == 1:
            maps = F.max_pool2d(maps, layer[0], stride=2)
        else:
            index, stride, padding = layer
            weight, bias = (state[f"features.{index}.{n}"].double() for n in ("weight", "bias"))
            maps = F.conv2d(maps, weight, bias, stride, padding).clamp(min=0)
    return taps


def reference(backbone: str, path: Path, first: torch.Tensor, second: torch.Tensor):
    """sum over layers of the mean over pixels of w . (unit(a) - unit(b))^2, per image."""
    state = torch.load(path, weights_only=True)
    folder = Path(torchmetrics.__file__).parent / "functional/image/lpips_models"
    learned = torch.load(folder / f"{backbone}.pth", weights_only=True, map_location="cpu")
    total = torch.zeros(len(first), dtype=torch.float64)
    pairs = zip(
        activations(backbone, state, first), activations(backbone, state, second), strict=True
    )
    for layer, (a, b) in enumerate(pairs):
        unit_a = a / (a.square().sum(1, keepdim=True) + 1e-8).sqrt()
        unit_b = b / (b.square().sum(1, keepdim=True) + 1e-8).sqrt()
        weight = learned[f"lin{layer}.model.1.weight"].double().view(-1, 1, 1)
        total += ((unit_a - unit_b).square() * weight).sum(1).mean(dim=(1, 2))
    return total


@pytest.mark.parametrize("backbone", ["vgg", "alex"])
def test_the_formula_at_32_pixels_and_at_the_smallest_size(backbones, backbone):
    before = torch.get_rng_state()
    network = lpips_network(backbone, backbones[backbone])
    assert torch.equal(torch.get_rng_state(), before)
    for size in (32, SMALLEST_IMAGE[backbone]):
        first, second = random_images(3, 1, size), random_images(3, 2, size)
        expected = reference(backbone, backbones[backbone], first, second)
        torch.testing.assert_close(
            network(first, second).flatten().double(), expected, rtol=1e-4, atol=1e-6
        )
    metric = LPIPS(network)
    metric.update(first[:1], second[:1])
    metric.update(first[1:], second[1:])
    assert metric.compute().item() == pytest.approx(expected.mean().item(), rel=1e-4)
    metric.reset()
    metric.update(first, first)
    assert metric.compute().item() == 0.0
    # One pixel less leaves nothing of the image.
    smaller = random_images(1, 1, SMALLEST_IMAGE[backbone] - 1)
    with pytest.raises(RuntimeError, match="too small"):
        network(smaller, smaller)


def test_weights_by_path_and_from_the_hub_cache(backbones, client, last_layer, monkeypatch):
    cache = backbones["vgg"].parent.parent / "home"
    (cache / "hub").mkdir(parents=True, exist_ok=True)
    if not (cache / "hub/checkpoints").exists():
        (cache / "hub/checkpoints").symlink_to(backbones["vgg"].parent)
    monkeypatch.setenv("TORCH_HOME", str(cache))
    cached = build_reconstruction_metrics(client, last_layer, 32)
    assert cached.missing == {}
    monkeypatch.setenv("TORCH_HOME", str(cache / "empty"))
    given = build_reconstruction_metrics(
        client, last_layer, 32, lpips_alex_weights=str(backbones["alex"])
    )
    assert set(given.missing) == {"lpips_vgg"}
    images = random_images(1, 1, 32), random_images(1, 2, 32)
    value = given.lpips["lpips_alex"](*images)
    assert torch.equal(value, cached.lpips["lpips_alex"](*images))
    assert value > 0


def test_missing_weights_are_reported_and_never_downloaded(
    tmp_path, client, last_layer, monkeypatch
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)  # calling it would fail
    metrics = build_reconstruction_metrics(client, last_layer, 32)
    assert set(metrics.missing) == {"lpips_vgg", "lpips_alex"}
    assert "vgg16-397923af.pth" in metrics.missing["lpips_vgg"]
    assert str(tmp_path) in metrics.missing["lpips_vgg"]
    assert "lpips_alex_weights" in metrics.missing["lpips_alex"]
    assert not {"lpips_vgg", "lpips_alex"} & set(metrics.collection().keys())


def test_small_images_are_a_reason_too(backbones, client, last_layer):
    metrics = build_reconstruction_metrics(
        client, last_layer, 8, str(backbones["vgg"]), str(backbones["alex"])
    )
    assert "takes 16 or more" in metrics.missing["lpips_vgg"]
    assert "takes 31 or more" in metrics.missing["lpips_alex"]


def test_files_of_another_network_are_refused(tmp_path, backbones, client, last_layer):
    with pytest.raises(UserError, match=r"torchvision's vgg16: features\.0\.weight is \(64, 3, 11"):
        lpips_network("vgg", backbones["alex"])
    torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11)}, tmp_path / "part.pth")
    with pytest.raises(UserError, match=r"torchvision's alexnet: features\.0\.bias is missing"):
        lpips_network("alex", tmp_path / "part.pth")
    with pytest.raises(UserError, match="does not exist"):
        build_reconstruction_metrics(client, last_layer, 32, lpips_vgg_weights="none.pth")
