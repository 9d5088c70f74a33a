import pytest
import torch
from torch import nn

from ggl_lightning.clients import ResNet18
from ggl_lightning.clients.procedures import (
    ClientAdam,
    ClientSGD,
    ClientState,
    HorizontalFlip,
    LocalTraining,
    PaddedCrop,
    PlainGradient,
    PopulationUpdates,
)
from ggl_lightning.errors import UserError
from ggl_lightning.seeding import seeded
from tests.clients.procedures.training_loops import ClientNet, batch, client_net

PROCEDURES = {
    "gradient": PlainGradient(),
    "gradient in train mode": PlainGradient(mode="train", send_buffers=True),
    "momentum": LocalTraining(ClientSGD(0.1, momentum=0.9), epochs=2, batch_size=3),
    "adam": LocalTraining(ClientAdam(0.01), batch_size=4),
    "frozen": LocalTraining(ClientSGD(0.1), batch_size=4, mode="frozen"),
    "eval": LocalTraining(ClientSGD(0.1), batch_size=4, mode="eval"),
    "augmented": LocalTraining(
        ClientSGD(0.1), batch_size=4, augmentations=[HorizontalFlip(), PaddedCrop(1)]
    ),
    "smoothed": LocalTraining(ClientSGD(0.1), loss=nn.CrossEntropyLoss(label_smoothing=0.1)),
}
# Of each tensor's largest entry; of the whole update for tensors that are nothing but rounding.
TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-9}


def _both(procedure, model, images, labels, seed=0, **options):
    """The population's updates, and those of its members by the procedure itself."""
    state = ClientState.of(model)
    order = procedure.order(images.shape[1], torch.Generator().manual_seed(seed))
    found = PopulationUpdates(procedure, state, **options)(images, labels, order)
    return found, [procedure(state, each, labels, order) for each in images]


def _assert_same(found, alone, tolerance):
    whole = max(float(each.abs().max()) for each in alone[0].tensors.values())
    for which in ("tensors", "buffers"):
        ours = getattr(found.update, which)
        theirs = [getattr(update, which) for update in alone]
        assert ours.keys() == theirs[0].keys()
        for name, tensor in ours.items():
            expected = torch.stack([each[name] for each in theirs])
            largest = max(float(expected.abs().max()), whole if which == "tensors" else 0.0)
            torch.testing.assert_close(tensor, expected, rtol=0, atol=tolerance * largest)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", PROCEDURES)
def test_it_is_the_loop(name, dtype):
    images, labels = batch(candidates=5, dtype=dtype)
    model = client_net(dtype=dtype, dropout=0.4)
    found, alone = _both(PROCEDURES[name], model, images, labels)
    assert found.way == "vmapped", found.reason
    assert found.update.mode == alone[0].mode
    assert (found.update.count, found.update.steps) == (8, alone[0].steps)
    _assert_same(found, alone, TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_it_is_the_loop_for_a_residual_network(dtype):
    with seeded(0):
        model = ResNet18(width=4).to(dtype)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, 4, 3, 16, 16, generator=generator, dtype=dtype) * 2 - 1
    procedure = LocalTraining(ClientSGD(0.01, momentum=0.9), batch_size=2)
    found, alone = _both(procedure, model, images, torch.tensor([0, 1, 0, 1]))
    assert found.way == "vmapped", found.reason
    _assert_same(found, alone, TOLERANCES[dtype])


def test_candidates_have_nothing_to_do_with_each_other():
    images, labels = batch(candidates=4, dtype=torch.float64)
    other = images.clone()
    other[1:] = other[1:].flip(-1) * 0.3
    model, procedure = client_net(dtype=torch.float64), PROCEDURES["momentum"]
    first, second = (_both(procedure, model, each, labels)[0] for each in (images, other))
    for name, tensor in first.update.tensors.items():
        torch.testing.assert_close(tensor[0], second.update.tensors[name][0], rtol=0, atol=1e-14)
        assert not torch.allclose(tensor[1], second.update.tensors[name][1])


def test_parts_that_fit_the_memory_bound_make_no_difference():
    images, labels = batch(candidates=7, dtype=torch.float64)
    model, procedure = client_net(dtype=torch.float64), PROCEDURES["momentum"]
    order = procedure.order(8, torch.Generator().manual_seed(0))
    population = PopulationUpdates(procedure, ClientState.of(model))
    needed = population.bytes_per_candidate(images, order) / 2**20
    assert population.at_once(images, order) > 7
    found, alone = _both(procedure, model, images, labels, max_memory_mb=2.5 * needed)
    bounded = PopulationUpdates(procedure, ClientState.of(model), max_memory_mb=2.5 * needed)
    assert bounded.at_once(images, order) == 2
    assert found.way == "vmapped"
    _assert_same(found, alone, 1e-9)


class Unused(ClientNet):
    def __init__(self):
        super().__init__()
        self.spare = nn.Linear(3, 3)


class Shared(ClientNet):
    """Batch-norm that is used twice and has two names."""

    def __init__(self):
        super().__init__()
        self.norm2 = nn.BatchNorm2d(6)
        self.again = self.norm2

    def forward(self, images):
        features = self.down(self.act(self.norm(self.conv(images))))
        features = self.act(self.again(self.act(self.norm2(features))))
        return self.fc(features.flatten(1))


@pytest.mark.parametrize("make", [Unused, Shared])
def test_unused_and_shared_parts_are_as_in_the_loop(make):
    with seeded(0):
        model = make().double()
    model.conv.requires_grad_(False)
    images, labels = batch(candidates=3, dtype=torch.float64)
    procedure = LocalTraining(ClientSGD(0.1, momentum=0.9, weight_decay=0.1), batch_size=4)
    found, alone = _both(procedure, model, images, labels)
    assert found.way == "vmapped", found.reason
    assert "conv.weight" not in found.update.tensors
    _assert_same(found, alone, 1e-9)
    if make is Unused:
        assert not found.update.tensors["spare.weight"].any()


class LooksAtValues(ClientNet):
    def forward(self, images):
        return super().forward(images) * (2 if images.mean() > 0 else 1)


class OwnBatchNorm(nn.BatchNorm2d):
    """One that the library knows nothing of."""


class OfAKind(ClientNet):
    def __init__(self):
        super().__init__()
        self.norm = OwnBatchNorm(4)


@pytest.mark.parametrize("make", [LooksAtValues, OfAKind])
def test_what_cannot_be_vectorised_goes_one_by_one_and_says_so(make):
    with seeded(0):
        model = make()
    images, labels = batch(candidates=3)
    found, alone = _both(PROCEDURES["momentum"], model, images, labels)
    assert found.way == "one by one"
    assert found.reason == "it cannot be vectorised"
    assert found.update.mode == "train"
    for name, tensor in found.update.tensors.items():
        assert torch.equal(tensor, torch.stack([update.tensors[name] for update in alone]))


class Doubled(torch.autograd.Function):
    """Wrong when it is vectorised."""

    @staticmethod
    def forward(x):
        return 2 * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, slope):
        return 2 * slope

    @staticmethod
    def vmap(info, in_dims, x):
        return 3 * x, in_dims[0]


class WrongWhenVectorised(ClientNet):
    def forward(self, images):
        return Doubled.apply(super().forward(images))


def test_what_comes_out_wrong_goes_one_by_one():
    with seeded(0):
        model = WrongWhenVectorised()
    images, labels = batch(candidates=2)
    found, alone = _both(PROCEDURES["momentum"], model, images, labels)
    assert found.way == "one by one"
    assert "differs when it is vectorised" in found.reason
    assert torch.equal(found.update.tensors["fc.bias"][1], alone[1].tensors["fc.bias"])


def test_a_memory_bound_must_be_positive():
    with pytest.raises(UserError, match="max_memory_mb is 0"):
        PopulationUpdates(PlainGradient(), ClientState.of(client_net()), max_memory_mb=0)
