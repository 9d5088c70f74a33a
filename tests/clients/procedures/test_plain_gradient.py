import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ggl_lightning.clients import GradientUpdate, ResNet18
from ggl_lightning.clients.procedures import ClientState, PlainGradient
from ggl_lightning.seeding import seeded
from tests.clients.procedures.training_loops import batch, client_net
from tests.tiny import TinyClient


def _update(procedure, model, images, labels, seed=0):
    order = procedure.order(len(images), torch.Generator().manual_seed(seed))
    return procedure(ClientState.of(model), images, labels, order)


@pytest.mark.parametrize("make", [TinyClient, lambda: ResNet18(width=4)])
def test_in_eval_mode_it_is_todays_gradient_to_the_bit(make):
    with seeded(0):
        model = make().eval()
    images, labels = batch(classes=2)
    expected = GradientUpdate()(model, images, labels)
    update = _update(PlainGradient(), model.train(), images, labels)
    assert (update.kind, update.mode, update.steps) == ("gradient", "eval", 1)
    assert list(update.tensors) == [name for name, _ in model.named_parameters()]
    for found, theirs in zip(update.tensors.values(), expected, strict=True):
        assert torch.equal(found, theirs)
        assert not found.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_in_train_mode_batch_norm_takes_the_batchs_statistics_and_leaves_them(dtype):
    model = client_net(dtype=dtype)
    images, labels = batch(dtype=dtype)
    update = _update(PlainGradient(mode="train", send_buffers=True), model, images, labels)
    model.train()
    F.cross_entropy(model(images), labels).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(update.tensors[name], parameter.grad, rtol=0, atol=1e-6)
    for name, buffer in model.named_buffers():
        assert torch.equal(update.buffers[name], buffer)


def test_any_surrounding_grad_mode_will_do():
    model, (images, labels) = client_net(), batch()
    with torch.no_grad():
        update = _update(PlainGradient(), model, images, labels)
    assert update.tensors["conv.weight"].any()


def test_unused_and_frozen_parameters():
    model, (images, labels) = client_net(), batch()
    model.spare = nn.Linear(2, 2)
    model.conv.requires_grad_(False)
    update = _update(PlainGradient(), model, images, labels)
    assert not update.tensors["spare.weight"].any()
    assert "conv.weight" not in update.tensors
    assert len(update.tensors) == len(list(model.parameters())) - 1
