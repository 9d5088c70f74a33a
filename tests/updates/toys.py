"""Models, trainings and recordings to try updates on."""

from __future__ import annotations

import torch
from torch import nn

from ggl_lightning.updates import Recording, UpdateRecord


class Net(nn.Module):
    """A small network with batch-norm, a frozen layer and one that gets no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.frozen = nn.Conv2d(4, 4, 1).requires_grad_(False)
        self.unused = nn.Linear(2, 2)
        self.head = nn.Linear(4 * 36, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.frozen(self.norm(self.conv(images))))
        return self.head(features.flatten(1))


def net(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net()


def batches(count: int = 3, size: int = 4) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(size, 3, 8, 8, generator=generator), torch.arange(size) % 3)
        for _ in range(count)
    ]


def train(model: nn.Module, learning_rate: float = 0.1, **settings: float) -> None:
    """Some steps of SGD, as any client's loop has them."""
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate, **settings)
    for images, labels in batches():
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()


def states(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def recording_of(model: nn.Module, seed: int = 0, **known: object) -> Recording:
    """A random difference of all of a model's trainable parameters, all of its state recorded."""
    generator = torch.Generator().manual_seed(seed)
    named = dict(model.named_parameters())
    tensors = {
        name: torch.randn(parameter.shape, generator=generator)
        for name, parameter in named.items()
        if parameter.requires_grad
    }
    buffers = {name: tensor.clone() for name, tensor in model.named_buffers()}
    return Recording(
        UpdateRecord(tensors, "difference", buffers, **known),
        {name: parameter.detach().clone() for name, parameter in named.items()},
        buffers,
        tuple(name for name in named if name not in tensors),
    )


def same(first, second) -> bool:
    """Whether two mappings hold the same tensors in the same order, to the last bit."""
    return list(first) == list(second) and all(
        first[name].dtype == second[name].dtype and torch.equal(first[name], second[name])
        for name in first
    )
