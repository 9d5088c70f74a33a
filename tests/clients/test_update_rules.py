import copy

import pytest
import torch
from torch.nn import functional as F

from ggl_lightning.clients import GradientUpdate, LocalSGDUpdate
from ggl_lightning.errors import UserError
from tests.tiny import TinyClient


def _batch(n=4):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(n, 3, 8, 8, generator=generator), torch.arange(n) % 2


@pytest.mark.parametrize("batch_size", [None, 2])
def test_local_sgd_equals_torch_optim_sgd(batch_size):
    model = TinyClient().eval()
    images, labels = _batch()
    update = LocalSGDUpdate(steps=5, learning_rate=0.1, batch_size=batch_size)(
        model, images, labels
    )
    trained = copy.deepcopy(model)
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1)
    size = batch_size or 4
    for step in range(5):
        start = step * size % 4
        optimizer.zero_grad()
        loss = F.cross_entropy(trained(images[start : start + size]), labels[start : start + size])
        loss.backward()
        optimizer.step()
    for sent, before, after in zip(update, model.parameters(), trained.parameters(), strict=True):
        torch.testing.assert_close(sent, (before - after) / 0.1, rtol=1e-4, atol=1e-5)
        assert not sent.requires_grad


def test_one_local_step_is_the_gradient():
    model = TinyClient().eval()
    images, labels = _batch()
    for a, b in zip(
        LocalSGDUpdate(steps=1)(model, images, labels),
        GradientUpdate()(model, images, labels),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_bad_numbers_are_refused():
    with pytest.raises(UserError, match="steps"):
        LocalSGDUpdate(steps=0)
    with pytest.raises(UserError, match="learning_rate"):
        LocalSGDUpdate(steps=1, learning_rate=0)
    with pytest.raises(UserError, match="does not divide the client's 4"):
        LocalSGDUpdate(steps=1, batch_size=3)(TinyClient().eval(), *_batch())
