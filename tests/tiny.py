"""Tiny real components for tests: a prior, images in its range, a client model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from ggl_lightning.attacks import Received, Target
from ggl_lightning.clients import GradientUpdate, find_classifier_layer, trainable_parameters
from ggl_lightning.data.base import ImageDataModule
from ggl_lightning.defenses import ClientSide, NoDefense
from ggl_lightning.priors import WGANGPPrior
from ggl_lightning.priors.base import Prior
from ggl_lightning.seeding import seeded
from ggl_lightning.updates import UpdateRecord


class TinyPrior(Prior):
    """A fixed random two-layer generator of 8x8 images, with 6-dimensional latents."""

    def __init__(self, image_size: int = 8, seed: int = 0) -> None:
        super().__init__()
        self.latent_shape = (6,)
        self.image_size = image_size
        generator = torch.Generator().manual_seed(seed)
        self.mix = nn.Parameter(torch.randn(6, 24, generator=generator), requires_grad=False)
        self.paint = nn.Parameter(
            torch.randn(24, 3 * image_size**2, generator=generator) / 4, requires_grad=False
        )

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(n, 6, generator=generator).to(self.device)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        images = (torch.tanh(latents @ self.mix) @ self.paint).tanh()
        return images.unflatten(1, (3, self.image_size, self.image_size))


def public_target(model: nn.Module, count: int) -> Target:
    """A client model with a `TinyPrior`, and as many public images of its range."""
    prior = TinyPrior()
    public = prior(prior.sample(count, torch.Generator().manual_seed(3)))
    classifier = find_classifier_layer(model, public[:2])
    return Target(model, classifier, prior, lambda most: public[:most])


class TinyImages(ImageDataModule):
    """Images that a `TinyPrior` can generate, with alternating labels."""

    def __init__(self, count: int = 6, image_size: int = 8) -> None:
        super().__init__()
        self.count = count
        self.image_size = image_size

    def dataset(self, split: str) -> TensorDataset:
        prior = TinyPrior(self.image_size)
        images = prior(prior.sample(self.count, torch.Generator().manual_seed(7)))
        return TensorDataset(images, torch.arange(self.count) % 2)


class TinyClient(nn.Sequential):
    """A small convolutional classifier with batch-norm."""

    def __init__(self, num_classes: int = 2) -> None:
        super().__init__(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(8 * 16, num_classes),
        )


def client_side(seed: int = 0, images: int = 1, num_classes: int = 2) -> ClientSide:
    """A client with a tiny model and random private images, all from one seed."""
    generator = torch.Generator().manual_seed(seed)
    with seeded(seed):
        model = TinyClient(num_classes).eval()
    private = torch.rand(images, 3, 8, 8, generator=generator) * 2 - 1
    return ClientSide(
        model=model,
        images=private,
        labels=torch.arange(images) % num_classes,
        classifier=find_classifier_layer(model, private),
        generator=generator,
    )


def received(
    model: nn.Module, update: list[Tensor], count: int = 1, kind: str = "gradient", **known
) -> Received:
    """What a server holds, by default a plain gradient."""
    named = dict(zip(trainable_parameters(model), update, strict=True))
    known = {"procedure": GradientUpdate(), "defense": NoDefense(), **known}
    return Received(UpdateRecord(named, kind, count=count), **known)


class ShippedPriorImages(ImageDataModule):
    """Images that the prior in the package can generate exactly, with alternating labels."""

    def __init__(self, count: int = 4, image_size: int = 32) -> None:
        super().__init__()
        self.count = count
        self.image_size = image_size

    def dataset(self, split: str) -> TensorDataset:
        prior = WGANGPPrior()
        with torch.no_grad():
            images = prior(prior.sample(self.count, torch.Generator().manual_seed(5)))
        return TensorDataset(images, torch.arange(self.count) % 2)


def tiny_client(num_classes: int = 2) -> nn.Module:
    """A function that builds a client model, as torchvision has them."""
    return TinyClient(num_classes)
