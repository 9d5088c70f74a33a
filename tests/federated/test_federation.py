"""Rounds against plain training loops and closed forms."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ggl_lightning.clients import GradientUpdate, LocalSGDUpdate, UpdateRule
from ggl_lightning.clients.procedures import ClientSGD, LocalTraining
from ggl_lightning.federated import ServerAdam, ServerSGD
from ggl_lightning.federated.sampling import Sampling
from ggl_lightning.federated.streams import ORDER
from ggl_lightning.seeding import torch_generator
from tests.federated.toy import TEST, TRAIN, federation, tiny_client, weights

IMAGES, LABELS = TRAIN.tensors


def test_one_client_with_all_images_is_plain_full_batch_sgd():
    model, reference = tiny_client(), tiny_client()
    server = federation(model, [np.arange(96)], GradientUpdate(), ServerSGD(0.1, momentum=0.9))
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.1, momentum=0.9)
    for number in range(1, 31):
        server.round(number)
        optimizer.zero_grad()
        F.cross_entropy(reference(IMAGES), LABELS).backward()
        optimizer.step()
    for ours, theirs in zip(weights(model), weights(reference), strict=True):
        assert torch.equal(ours, theirs)
    right = (reference(TEST.tensors[0]).argmax(1) == TEST.tensors[1]).float().mean().item()
    assert server.accuracy() == pytest.approx(right)
    assert right > 0.9


def test_clients_of_unequal_size_average_to_the_gradient_of_all_images():
    model, reference = tiny_client(), tiny_client()
    shares = [np.arange(0, 7), np.arange(7, 60), np.arange(60, 96)]
    server = federation(model, shares, GradientUpdate(), ServerSGD(0.1, momentum=0))
    server.round(1)
    F.cross_entropy(reference(IMAGES), LABELS).backward()
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs - 0.1 * theirs.grad, rtol=1e-5, atol=1e-7)


class MeanLabel(UpdateRule):
    """An update whose entries all are the mean label."""

    def __call__(self, model, images, labels):
        return [torch.full_like(p, labels.double().mean().item()) for p in model.parameters()]


def test_updates_are_weighted_by_their_images():
    model = tiny_client()
    before = weights(model)
    # Labels alternate: means 0, 1 and 1/2 behind 1, 1 and 6 images.
    shares = [np.array([0]), np.array([1]), np.arange(2, 8)]
    federation(model, shares, MeanLabel(), ServerSGD(1.0, momentum=0)).round(1)
    for old, new in zip(before, weights(model), strict=True):
        torch.testing.assert_close(new, old - (0 * 1 + 1 * 1 + 0.5 * 6) / 8)


def test_local_sgd_with_the_servers_rate_is_fedavg():
    """Clients' weights after their own SGD, averaged by their numbers of images."""
    model, reference = tiny_client(), tiny_client()
    shares = [np.arange(0, 8), np.arange(8, 32), np.arange(32, 36)]
    rule = LocalSGDUpdate(steps=5, learning_rate=0.1, batch_size=4)
    server = federation(model, shares, rule, ServerSGD(0.1, momentum=0))
    for number in (1, 2, 3):
        server.round(number)
        average = [torch.zeros_like(p) for p in reference.parameters()]
        for share in shares:
            local = copy.deepcopy(reference)
            optimizer = torch.optim.SGD(local.parameters(), lr=0.1)
            for step in range(5):
                batch = [share[(4 * step + i) % len(share)] for i in range(4)]
                optimizer.zero_grad()
                F.cross_entropy(local(IMAGES[batch]), LABELS[batch]).backward()
                optimizer.step()
            for mean, weight in zip(average, local.parameters(), strict=True):
                mean += len(share) / 36 * weight.detach()
        for old, new in zip(reference.parameters(), average, strict=True):
            old.data.copy_(new)
    for ours, theirs in zip(weights(model), weights(reference), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_differences_and_buffers_of_realistic_clients_are_averaged_as_fedavg_does():
    """Training mode, momentum, shuffling: weights and running statistics, weighted by images."""
    model, reference = tiny_client(), tiny_client()
    shares = [np.arange(0, 8), np.arange(8, 32), np.arange(32, 38)]
    procedure = LocalTraining(ClientSGD(0.1, momentum=0.9), epochs=2, batch_size=4)
    server = federation(model, shares, procedure, ServerSGD(1.0, momentum=0), seed=3)
    for number in (1, 2):
        server.round(number)
        average = dict.fromkeys(reference.state_dict(), 0)
        for client, share in enumerate(shares):
            order = procedure.order(len(share), torch_generator(ORDER, 3, number, client))
            local = copy.deepcopy(reference).train()
            optimizer = torch.optim.SGD(local.parameters(), lr=0.1, momentum=0.9)
            indices = Sampling(shares, 3, None, 3).choose(number)[client]
            images, labels = IMAGES[indices], LABELS[indices]
            for step in order.steps:
                optimizer.zero_grad()
                F.cross_entropy(local(images[step.indices]), labels[step.indices]).backward()
                optimizer.step()
            for name, tensor in local.state_dict().items():
                average[name] = average[name] + len(share) / 38 * tensor.double()
        counted = average.pop("1.num_batches_tracked").round().long()
        reference.load_state_dict({**average, "1.num_batches_tracked": counted})
    found = model.state_dict()
    for name, expected in reference.state_dict().items():
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-5)
    assert not model.training


def test_withheld_buffers_stay_the_servers():
    model = tiny_client()
    before = copy.deepcopy(dict(model.named_buffers()))
    procedure = LocalTraining(ClientSGD(0.1), send_buffers=False)
    federation(model, [np.arange(8)], procedure, ServerSGD(1.0, momentum=0)).round(1)
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, before[name])


def test_batch_norm_keeps_the_initial_statistics():
    model = tiny_client()
    before = copy.deepcopy(dict(model.named_buffers()))
    federation(model, [np.arange(96)], GradientUpdate(), ServerSGD()).round(1)
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, before[name])
    assert not model.training


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_steps_of_adam_do_not_depend_on_the_scale_of_updates(scale):
    parameter = torch.nn.Parameter(torch.zeros(3))
    optimizer = ServerAdam(learning_rate=0.01).build([parameter])
    parameter.grad = scale * torch.tensor([1.0, -2.0, 3.0])
    optimizer.step()
    torch.testing.assert_close(
        parameter.detach(), torch.tensor([-0.01, 0.01, -0.01]), rtol=1e-4, atol=0
    )


def test_momentum_of_the_server():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = ServerSGD(learning_rate=0.1, momentum=0.5).build([parameter])
    velocity = position = 0.0
    for gradient in (1.0, -3.0, 2.0):
        parameter.grad = torch.tensor([gradient])
        optimizer.step()
        velocity = 0.5 * velocity + gradient
        position -= 0.1 * velocity
    assert parameter.item() == pytest.approx(position)
