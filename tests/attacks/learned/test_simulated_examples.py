"""Simulated updates beside explicit ones, and beside the closed form where both serve."""

import pytest
import torch

from ggl_lightning.attacks.learned.public_updates import closed_form, simulated, usable_tensors
from ggl_lightning.clients import find_classifier_layer, trainable_parameters
from ggl_lightning.clients.procedures import ClientState, PlainGradient
from ggl_lightning.seeding import seeded
from tests.tiny import TinyClient

MEMORY = 2**24


@pytest.fixture(scope="module")
def setting():
    with seeded(0):
        model = TinyClient().eval()
    images = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    classifier = find_classifier_layer(model, images[:2])
    return model, usable_tensors(model, classifier), images


def explicit(model, image, label=1):
    procedure = PlainGradient()
    order = procedure.order(1, torch.Generator())
    found = procedure.compute(ClientState.of(model), image[None], torch.tensor([label]), order)
    return dict(zip(trainable_parameters(model), found.tensors.values(), strict=True))


def test_both_ways_give_the_same_inner_products(setting):
    model, names, images = setting
    closed = closed_form(model, names, images, 1, MEMORY)
    every = simulated(model, names, images, 1, MEMORY, PlainGradient(), None)
    closed.prepare(closed.names)
    assert set(closed.names) <= set(every.names)
    ours, theirs = closed.grams(closed.names), every.grams(every.names)
    received = explicit(model, -images[3])
    for name in closed.names:
        torch.testing.assert_close(ours[name].cosines, theirs[name].cosines, rtol=0, atol=2e-3)
        first = closed.rows(name, received[name]) / ours[name].norms
        second = every.rows(name, received[name]) / theirs[name].norms
        torch.testing.assert_close(first, second, rtol=0, atol=3e-3 * float(received[name].norm()))


def test_the_entries_that_vary_most_are_kept_within_the_memory(setting):
    model, names, images = setting
    entries = 60
    few = simulated(model, names, images, 1, 2 * entries * len(images), PlainGradient(), None)
    gradients = [explicit(model, image) for image in images[:8]]  # that is all the memory holds
    shares = {}
    for name in names:
        stacked = torch.stack([each[name].flatten() for each in gradients])
        shares[name] = stacked.var(dim=0, correction=0) / stacked.square().sum(dim=1).mean()
    least = torch.cat(list(shares.values())).sort(descending=True).values[entries - 1]
    state = few.state
    for name in names:
        expected = (shares[name] >= least).nonzero().flatten().tolist()
        assert state.get(f"entries/{name}", torch.tensor([])).tolist() == expected


def test_what_was_kept_serves_as_well(setting):
    model, names, images = setting
    arguments = model, names, images, 1, MEMORY, PlainGradient(), None
    first = simulated(*arguments)
    again = simulated(*arguments, kept=first.state)
    assert again.names == first.names
    for name, gram in first.grams(first.names).items():
        torch.testing.assert_close(again.grams([name])[name].cosines, gram.cosines)
