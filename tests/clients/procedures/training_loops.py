"""Plain PyTorch training loops that procedures are held against, and models for them."""

import copy

import torch
from torch import nn
from torch.utils.data import BatchSampler

from ggl_lightning.seeding import seeded


class ClientNet(nn.Module):
    """Convolutions, batch-norm, dropout and a linear layer for 8x8 images."""

    def __init__(self, classes=3, dropout=0.0, momentum=0.1, activation=nn.Tanh):
        super().__init__()
        # A bias before batch-norm has gradients of nothing but rounding, which Adam blows up.
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4, momentum=momentum)
        self.act = activation()
        self.down = nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(6, momentum=momentum)
        self.drop = nn.Dropout(dropout)
        self.fc = nn.Linear(6 * 16, classes)

    def forward(self, images):
        features = self.act(self.norm(self.conv(images)))
        features = self.act(self.norm2(self.down(features)))
        return self.fc(self.drop(features.flatten(1)))


class MLP(nn.Module):
    """Two linear layers, without anything that batches couple."""

    def __init__(self, classes=3):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(192, 10), nn.Tanh())
        self.fc = nn.Linear(10, classes)

    def forward(self, images):
        return self.fc(self.body(images))


def client_net(seed=0, dtype=torch.float32, **options):
    with seeded(seed):
        model = ClientNet(**options)
        for norm in (model.norm, model.norm2):  # not the statistics that every new one has
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            norm.weight.data.uniform_(0.5, 2)
            norm.bias.data.normal_()
    return model.to(dtype)


def batch(count=8, candidates=None, seed=0, dtype=torch.float32, classes=3):
    generator = torch.Generator().manual_seed(seed)
    shape = (count, 3, 8, 8) if candidates is None else (candidates, count, 3, 8, 8)
    images = torch.rand(shape, generator=generator, dtype=dtype) * 2 - 1
    return images, torch.arange(count) % classes


def dealt(count, batch_size, drop_last, shuffle, epochs, generator):
    """Batches as torch's sampler deals them out of each epoch's order."""
    batches = []
    for _ in range(epochs):
        order = torch.randperm(count, generator=generator).tolist() if shuffle else range(count)
        batches += list(BatchSampler(order, batch_size, drop_last))
    return batches


def train(
    model,
    images,
    labels,
    batches,
    make_optimizer,
    loss,
    *,
    scheduler=None,
    seed=0,
    prepare=None,
    transform=None,
):
    """Trains a copy of a model in the mode that ``prepare`` puts it in; returns it."""
    trained = copy.deepcopy(model)
    (prepare or nn.Module.train)(trained)
    optimizer = make_optimizer([p for p in trained.parameters() if p.requires_grad])
    schedule = scheduler(optimizer) if scheduler else None
    with seeded(seed):
        for step, indices in enumerate(batches):
            optimizer.zero_grad()
            inputs = images[indices]
            if transform is not None:
                inputs = transform(inputs, step)
            loss(trained(inputs), labels[indices]).backward()
            optimizer.step()
            if schedule is not None:
                schedule.step()
    return trained


def assert_sent(update, before, after, tolerance=1e-6):
    """That an update is the difference of two models, with the buffers of the second."""
    old, new = dict(before.named_parameters()), dict(after.named_parameters())
    assert list(update.tensors) == [name for name, each in old.items() if each.requires_grad]
    for name, tensor in update.tensors.items():
        torch.testing.assert_close(tensor, (new[name] - old[name]).detach(), rtol=0, atol=tolerance)
        assert not tensor.requires_grad
    if update.buffers:
        assert update.buffers.keys() == dict(after.named_buffers()).keys()
    for name, buffer in update.buffers.items():
        torch.testing.assert_close(
            buffer, dict(after.named_buffers())[name], rtol=tolerance, atol=tolerance
        )
