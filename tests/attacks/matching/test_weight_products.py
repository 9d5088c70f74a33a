"""Inner products of weight gradients without the gradients, beside products of the gradients."""

import pytest
import torch
from torch import nn

from ggl_lightning.attacks.matching.convolution import ConvolutionRule
from ggl_lightning.attacks.matching.linear import LinearRule

CONVOLUTIONS = {
    "same": {"kernel_size": 3, "padding": 1},
    "strided": {"kernel_size": 3, "padding": 1, "stride": 2},
    "large stride": {"kernel_size": 2, "padding": 0, "stride": 3},
    "dilated": {"kernel_size": 3, "padding": 2, "dilation": 2},
    "uneven": {"kernel_size": (3, 2), "padding": (2, 0), "stride": (1, 2)},
    "more padding than image": {"kernel_size": 3, "padding": 4, "dilation": 3},
    "one pixel": {"kernel_size": 1, "stride": 2},
    "padded as a string": {"kernel_size": 2, "padding": "same"},
    "grouped": {"kernel_size": 3, "padding": 1, "groups": 2},
    "circular": {"kernel_size": 3, "padding": 1, "padding_mode": "circular"},
}


def caught(layer, shape, count, images, seed):
    """Inputs of a layer and gradients of its outputs, ``(count, images, ...)``."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(count * images, *shape, generator=generator, dtype=torch.float64)
    b = torch.randn(layer(a).shape, generator=generator, dtype=torch.float64)
    return a.unflatten(0, (count, images)), b.unflatten(0, (count, images))


def products_by_autograd(layer, first, second):
    def gradients(a, b):
        return torch.stack(
            [
                torch.autograd.grad((layer(each_a) * each_b).sum(), layer.weight)[0].flatten()
                for each_a, each_b in zip(a, b, strict=True)
            ]
        )

    return gradients(*first) @ gradients(*second).T


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("by_positions", [True, False])
def test_convolutions(name, images, by_positions, monkeypatch):
    monkeypatch.setattr(ConvolutionRule, "_pairs_are_cheaper", lambda *_: by_positions)
    layer = nn.Conv2d(4, 6, **CONVOLUTIONS[name]).double()
    first, second = (caught(layer, (4, 6, 5), n, images, n) for n in (3, 2))

    found = ConvolutionRule(layer).weight_products(*first, *second)

    torch.testing.assert_close(found, products_by_autograd(layer, first, second))


@pytest.mark.parametrize("shape", [(7,), (5, 7)])
def test_linear_layers(shape):
    layer = nn.Linear(7, 3).double()
    first, second = (caught(layer, shape, n, 2, n) for n in (3, 2))

    found = LinearRule(layer).weight_products(*first, *second)

    torch.testing.assert_close(found, products_by_autograd(layer, first, second))


def test_positions_are_used_where_they_are_few():
    small = nn.Conv2d(512, 512, 3, padding=1)
    few, many = torch.zeros(1, 1, 512, 4, 4), torch.zeros(1, 1, 512, 32, 32)

    assert ConvolutionRule(small)._pairs_are_cheaper(few, few)
    assert not ConvolutionRule(small)._pairs_are_cheaper(many, many)
