"""Gram matrices of weight gradients without the gradients, beside autograd's."""

import pytest
import torch
from torch.nn import functional as F

from ggl_lightning.attacks.learned.captured import capture, products
from ggl_lightning.attacks.matching.layer_rule import MatrixRule
from ggl_lightning.attacks.matching.rules import find_rules
from ggl_lightning.seeding import seeded
from tests.tiny import TinyClient

LABEL = 1


@pytest.fixture
def model():
    with seeded(0):
        return TinyClient(num_classes=3).eval().double()


def matrix_rules(model):
    rules, _ = find_rules(model)
    return {name: rule for name, rule in rules.items() if isinstance(rule, MatrixRule)}


def some_images(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, 8, 8, generator=generator, dtype=torch.float64) * 2 - 1


def explicit(model, name, images):
    weight = model.get_submodule(name).weight
    rows = []
    for image in images:
        loss = F.cross_entropy(model(image[None]), torch.tensor([LABEL]))
        rows.append(torch.autograd.grad(loss, weight)[0].flatten())
    return torch.stack(rows)


@pytest.mark.parametrize("strip", [1, 3, 128])
@pytest.mark.parametrize("block_bytes", [1, 30_000, 2**30])
def test_products_are_those_of_the_gradients(model, block_bytes, strip, monkeypatch):
    monkeypatch.setattr("ggl_lightning.attacks.learned.captured._STRIP", strip)
    public, other = some_images(7, 1), some_images(3, 2)
    gradients = {
        name: (explicit(model, name, public), explicit(model, name, other))
        for name in matrix_rules(model)
    }
    model.requires_grad_(False)
    rules = matrix_rules(model)
    first = capture(model, rules, public, LABEL, images_at_once=3)
    second = capture(model, rules, other, LABEL)

    assert set(first) == {"0", "3", "6"}
    for name, (ours, theirs) in gradients.items():
        gram = products(first[name], first[name], block_bytes)
        torch.testing.assert_close(gram, ours @ ours.T)
        across = products(second[name], first[name], block_bytes)
        torch.testing.assert_close(across, theirs @ ours.T)
