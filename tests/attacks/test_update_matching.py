"""Which image of a lineup an update is of, against plain loops in double precision."""

import copy

import pytest
import torch

from ggl_lightning.attacks import Target, UpdateMatching
from ggl_lightning.clients import client_update
from ggl_lightning.clients.procedures import ClientSGD, ClientState, LocalTraining, PlainGradient
from ggl_lightning.defenses import (
    DPSGD,
    ClientSide,
    Clipping,
    Compose,
    Compression,
    LayerwiseClipping,
    LocalDP,
    NoDefense,
    Noise,
    Quantization,
    Representation,
    Sign,
)
from ggl_lightning.metrics import rank_of_first
from tests.tiny import TinyPrior, client_side, received

DEFENSES = [
    NoDefense(),
    Noise(0.03),
    Clipping(0.5),
    LayerwiseClipping(0.1),
    Compose([Clipping(0.5), Noise(0.01)]),
    Compression(70),
    Representation(60),
    Quantization(4),
    Quantization(3, stochastic=True),
    Sign(),
    LocalDP(clipping_norm=0.5, sensitivity=0.01, epsilon=10.0, delta=1e-5),
]


def lineup(count=12, seed=3):
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def setting(defense, place=0, label=1, images=None):
    """A client that holds one image of the lineup, and what it sends."""
    client = client_side(num_classes=3)
    own = lineup()[place : place + 1] if images is None else images
    labels = torch.full((len(own),), label)
    side = ClientSide(
        client.model, own, labels, client.classifier, torch.Generator().manual_seed(place)
    )
    sent = defense(client_update(client.model, own, labels), side)
    target = Target(client.model, client.classifier, TinyPrior())
    return target, received(client.model, sent, len(own), defense=defense)


def scores(target, sent, images=None):
    attack = UpdateMatching()
    found = attack.run(sent, target, seed=0)
    return attack.rank(sent, found, lineup() if images is None else images, target)


def by_a_plain_loop(target, sent, label, by_direction):
    """``||a(g) - y||^2`` in float64, or ``2 ||y||^2 (1 - cos)``, both less ``||y||^2``."""
    model = copy.deepcopy(target.model).double()
    y = torch.cat([tensor.double().flatten() for tensor in sent.update])
    adaptation = sent.defense.adapt(sent.update, target.classifier)
    found = []
    for image in lineup().double():
        update = client_update(model, image[None], torch.tensor([label]))
        if adaptation is not None:
            update = adaptation(update)
        g = torch.cat([tensor.flatten() for tensor in update])
        if by_direction:
            g = g * y.norm() / g.norm()
        found.append((g - y).square().sum() - y.square().sum())
    return torch.stack(found)


@pytest.mark.parametrize("defense", DEFENSES, ids=lambda d: type(d).__name__)
def test_the_scores_are_those_of_a_plain_loop(defense):
    target, sent = setting(defense, place=4)
    by_direction = "Clipping" in type(defense).__name__ or type(defense).__name__ in (
        "Compose",
        "LocalDP",
    )
    label = int(UpdateMatching().run(sent, target, seed=0).labels[0])
    expected = by_a_plain_loop(target, sent, label, by_direction)
    torch.testing.assert_close(scores(target, sent), expected, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("defense", DEFENSES, ids=lambda d: type(d).__name__)
def test_it_names_the_image_that_the_update_is_of(defense):
    named = [int(scores(*setting(defense, place)).argmin()) == place for place in range(12)]
    assert sum(named) >= 10


def test_noise_that_dwarfs_the_update_leaves_the_order_as_in_double_precision():
    target, sent = setting(Noise(3e4), place=2)
    label = int(UpdateMatching().run(sent, target, seed=0).labels[0])
    expected = by_a_plain_loop(target, sent, label, by_direction=False)
    assert scores(target, sent).argsort().tolist() == expected.argsort().tolist()


def test_dp_sgd_is_matched_by_direction():
    defense = DPSGD(noise_multiplier=0.01, bound=0.3)
    assert int(scores(*setting(defense, place=7)).argmin()) == 7


def test_several_private_images_are_each_found_in_their_mean():
    target, sent = setting(NoDefense(), images=lineup()[[1, 5]])
    ranked = scores(target, sent).argsort()[:2]
    assert set(ranked.tolist()) == {1, 5}


def test_local_training_is_simulated():
    procedure = LocalTraining(
        ClientSGD(0.1, momentum=0.9), steps=3, mode="eval", shuffle=False, send_buffers=False
    )
    client = client_side()
    own, label = lineup()[6:7], torch.tensor([0])
    order = procedure.order(1, torch.Generator())
    update = procedure.compute(ClientState.of(client.model), own, label, order)
    sent = received(
        client.model,
        list(update.tensors.values()),
        kind=procedure.kind,
        procedure=procedure,
    )
    target = Target(client.model, client.classifier, TinyPrior())
    assert int(scores(target, sent).argmin()) == 6


def test_an_update_of_zeros_tells_nothing():
    target, sent = setting(NoDefense())
    zeros = received(target.model, [torch.zeros_like(tensor) for tensor in sent.update])
    assert rank_of_first(scores(target, zeros)) == 12


def test_ties_and_what_is_not_a_number_count_against_the_attacker():
    nan = float("nan")
    assert rank_of_first(torch.tensor([1.0, 2.0, 3.0])) == 1
    assert rank_of_first(torch.tensor([1.0, 1.0, 0.5, 2.0])) == 3
    assert rank_of_first(torch.tensor([-1.0, -1.0 + 1e-9, 5.0])) == 2
    assert rank_of_first(torch.tensor([1.0, nan, 2.0])) == 2
    assert rank_of_first(torch.tensor([nan, 1.0, 2.0])) == 3


def test_training_mode_with_several_images_cannot_be_simulated_one_by_one():
    client = client_side(images=2)
    target = Target(client.model, client.classifier, TinyPrior())
    procedure = PlainGradient(mode="train")
    small = copy.deepcopy(client.model)
    small.insert(6, torch.nn.Linear(128, 4))
    small.insert(7, torch.nn.BatchNorm1d(4))
    small[-1] = torch.nn.Linear(4, 2)
    narrow = Target(small.eval(), target.classifier, TinyPrior())
    assert UpdateMatching().problems(target, 2, procedure) == []
    (problem,) = UpdateMatching().problems(narrow, 2, procedure)
    assert "simulates each image of a lineup alone" in problem
