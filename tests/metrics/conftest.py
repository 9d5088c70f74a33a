"""Images, a client model, and random backbone weights in torchvision's own format."""

from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from ggl_lightning.clients import find_classifier_layer
from ggl_lightning.seeding import seeded
from tests.tiny import TinyClient


def random_images(count: int, seed: int, size: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, size, size, generator=generator) * 2 - 1


@pytest.fixture
def client() -> TinyClient:
    with seeded(0):
        return TinyClient(num_classes=5).eval()


@pytest.fixture
def last_layer(client) -> nn.Linear:
    return find_classifier_layer(client, random_images(1, 0)).layer


@pytest.fixture(scope="session")
def backbones(tmp_path_factory) -> dict[str, Path]:
    """Files named as torch's hub cache names them."""
    folder = tmp_path_factory.mktemp("backbones")
    paths = {}
    for backbone, name, file in (
        ("vgg", "vgg16", "vgg16-397923af.pth"),
        ("alex", "alexnet", "alexnet-owt-7be5be79.pth"),
    ):
        with torch.device("meta"):
            shapes = torchvision.models.get_model(name).state_dict()
        generator = torch.Generator().manual_seed(1)
        state = {"classifier.6.bias": torch.zeros(1000)}  # there, and of no use
        for key, tensor in shapes.items():
            if key.startswith("features."):
                fan_in = tensor[0].numel() if tensor.dim() > 1 else 1
                values = torch.randn(tensor.shape, generator=generator)
                state[key] = values * (2 / fan_in) ** 0.5 * (1 if tensor.dim() > 1 else 0.1)
        paths[backbone] = folder / file
        torch.save(state, paths[backbone])
    return paths
