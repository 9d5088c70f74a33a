import copy
import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, OneCycleLR, StepLR

from ggl_lightning.clients import LocalSGDUpdate
from ggl_lightning.clients.procedures import (
    ClientAdam,
    ClientAdamW,
    ClientSGD,
    ClientState,
    CosineRate,
    ListedRates,
    LocalTraining,
    StepwiseRate,
    TorchRates,
)
from ggl_lightning.errors import UserError
from ggl_lightning.seeding import seeded
from tests.clients.procedures.training_loops import (
    MLP,
    assert_sent,
    batch,
    client_net,
    dealt,
    train,
)

OPTIMIZERS = {
    "sgd": (ClientSGD(0.1), lambda p: torch.optim.SGD(p, lr=0.1)),
    "momentum": (ClientSGD(0.1, momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
    "dampened": (
        ClientSGD(0.1, momentum=0.9, dampening=0.3, weight_decay=0.1),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.1),
    ),
    "nesterov": (
        ClientSGD(0.1, momentum=0.8, nesterov=True, weight_decay=0.05),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.05),
    ),
    "adam": (
        ClientAdam(0.01, betas=(0.8, 0.95), weight_decay=0.1),
        lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.8, 0.95), weight_decay=0.1),
    ),
    "adamw": (
        ClientAdamW(0.01, weight_decay=0.2),
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.2),
    ),
}
TOLERANCES = {torch.float32: 1e-6, torch.float64: 1e-12}


def _generator(seed=3):
    return torch.Generator().manual_seed(seed)


def _sent(procedure, model, images, labels, seed=3):
    order = procedure.order(len(images), _generator(seed))
    return procedure(ClientState.of(model), images, labels, order), order


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_is_torchs_over_shuffled_epochs_of_uneven_batches(name, dtype):
    ours, theirs = OPTIMIZERS[name]
    model, (images, labels) = client_net(dtype=dtype), batch(dtype=dtype)
    update, _ = _sent(LocalTraining(ours, epochs=3, batch_size=3), model, images, labels)
    batches = dealt(8, 3, False, True, 3, _generator())
    after = train(model, images, labels, batches, theirs, F.cross_entropy)
    assert_sent(update, model, after, TOLERANCES[dtype])
    assert (update.kind, update.count, update.steps, update.mode) == ("difference", 8, 9, "train")
    assert update.learning_rate == ours.learning_rate


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_are_those_of_torchs_sampler(drop_last, shuffle):
    procedure = LocalTraining(epochs=2, batch_size=3, drop_last=drop_last, shuffle=shuffle)
    order = procedure.order(8, _generator())
    assert [step.indices.tolist() for step in order.steps] == dealt(
        8, 3, drop_last, shuffle, 2, _generator()
    )


def test_steps_go_through_as_many_epochs_as_they_need():
    order = LocalTraining(steps=5, batch_size=3, shuffle=False).order(4, _generator())
    assert [step.indices.tolist() for step in order.steps] == [
        [0, 1, 2], [3], [0, 1, 2], [3], [0, 1, 2],
    ]  # fmt: skip


def _frozen(model):
    model.train()
    model.norm.eval()
    model.norm2.eval()


@pytest.mark.parametrize(
    ("mode", "prepare"), [("train", nn.Module.train), ("frozen", _frozen), ("eval", nn.Module.eval)]
)
@pytest.mark.parametrize("momentum", [0.1, None])
def test_modes_of_batch_norm_and_dropout(mode, prepare, momentum):
    model, (images, labels) = client_net(dropout=0.5, momentum=momentum), batch()
    states = [module.training for module in model.modules()]
    weights = copy.deepcopy(model.state_dict())
    procedure = LocalTraining(ClientSGD(0.1), epochs=2, batch_size=4, mode=mode)
    update, order = _sent(procedure, model, images, labels)
    after = train(
        model,
        images,
        labels,
        [step.indices for step in order.steps],
        lambda p: torch.optim.SGD(p, lr=0.1),
        F.cross_entropy,
        seed=order.seed,
        prepare=prepare,
    )
    assert_sent(update, model, after)
    assert update.mode == ("train" if mode == "train" else "eval")
    moved = not torch.equal(update.buffers["norm.running_mean"], model.norm.running_mean)
    assert moved == (mode == "train")
    # The state that training began with is as it was.
    assert [module.training for module in model.modules()] == states
    assert all(torch.equal(weights[name], each) for name, each in model.state_dict().items())


def test_dropout_masks_follow_from_the_order():
    model, (images, labels) = client_net(dropout=0.5), batch()
    procedure = LocalTraining(ClientSGD(0.1), batch_size=None)
    first, second = (procedure.order(8, _generator(seed)) for seed in (1, 2))
    state = ClientState.of(model)
    a, b, other = (procedure(state, images, labels, order) for order in (first, first, second))
    assert torch.equal(a.tensors["fc.weight"], b.tensors["fc.weight"])
    assert not torch.allclose(a.tensors["fc.weight"], other.tensors["fc.weight"])


def test_buffers_can_be_withheld():
    model, (images, labels) = client_net(), batch()
    update, _ = _sent(LocalTraining(send_buffers=False), model, images, labels)
    assert update.buffers == {}


class Focal(nn.Module):
    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, logits, labels):
        p = logits.softmax(1)[torch.arange(len(labels)), labels]
        return (-((1 - p) ** self.gamma) * p.log()).mean()


@pytest.mark.parametrize(
    ("options", "loss"),
    [
        ({"label_smoothing": 0.2}, lambda x, y: F.cross_entropy(x, y, label_smoothing=0.2)),
        ({"loss": Focal(1.5)}, Focal(1.5)),
        (
            {"loss": nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]))},
            nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0])),
        ),
    ],
)
def test_losses(options, loss):
    model, (images, labels) = client_net(), batch()
    procedure = LocalTraining(ClientSGD(0.1), batch_size=4, shuffle=False, **options)
    update, _ = _sent(procedure, model, images, labels)
    batches = dealt(8, 4, False, False, 1, None)
    after = train(model, images, labels, batches, OPTIMIZERS["sgd"][1], loss)
    assert_sent(update, model, after)


@pytest.mark.parametrize(
    ("schedule", "scheduler"),
    [
        (StepwiseRate(2, 0.5, per="step"), lambda o: StepLR(o, 2, 0.5)),
        (CosineRate(over=5, minimum=0.01), lambda o: CosineAnnealingLR(o, 5, 0.01)),
        (CosineRate(), lambda o: CosineAnnealingLR(o, 4)),
        (TorchRates(lambda o: ExponentialLR(o, 0.7)), lambda o: ExponentialLR(o, 0.7)),
        (ListedRates([0.1, 0.05, 0.025, 0.0125]), lambda o: ExponentialLR(o, 0.5)),
    ],
)
def test_schedules_are_torchs(schedule, scheduler):
    model, (images, labels) = client_net(), batch()
    procedure = LocalTraining(
        ClientSGD(0.1, momentum=0.9), epochs=2, batch_size=4, shuffle=False, schedule=schedule
    )
    update, _ = _sent(procedure, model, images, labels)
    batches = dealt(8, 4, False, False, 2, None)
    after = train(
        model, images, labels, batches, OPTIMIZERS["momentum"][1], F.cross_entropy,
        scheduler=scheduler,
    )  # fmt: skip
    assert_sent(update, model, after)
    assert update.learning_rate is None


def test_a_schedule_may_advance_with_epochs():
    procedure = LocalTraining(
        ClientSGD(0.8), epochs=3, batch_size=3, schedule=StepwiseRate(1, 0.5, per="epoch")
    )
    assert procedure.rates(9, 8) == [0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2, 0.2, 0.2]


def test_of_frozen_parameters_nothing_is_sent_and_they_stay():
    model, (images, labels) = client_net(), batch()
    model.conv.requires_grad_(False)
    model.norm.weight.requires_grad_(False)
    procedure = LocalTraining(ClientSGD(0.1, weight_decay=0.1), epochs=2, batch_size=4)
    update, order = _sent(procedure, model, images, labels)
    batches = [step.indices for step in order.steps]
    after = train(
        model, images, labels, batches, lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.1),
        F.cross_entropy,
    )  # fmt: skip
    assert_sent(update, model, after)
    assert "conv.weight" not in update.tensors


class WithUnused(MLP):
    def __init__(self):
        super().__init__()
        self.spare = nn.Linear(10, 2)


class WithTied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(192, 192)
        self.second = nn.Linear(192, 192)
        self.second.weight = self.first.weight
        self.fc = nn.Linear(192, 3)

    def forward(self, images):
        return self.fc(self.second(self.first(images.flatten(1)).tanh()).tanh())


@pytest.mark.parametrize("name", ["dampened", "adamw"])
def test_unused_parameters_do_not_decay_and_send_zeros(name):
    ours, theirs = OPTIMIZERS[name]
    with seeded(0):
        model = WithUnused().double()  # Adam blows up what float32 rounds
    images, labels = batch(dtype=torch.float64)
    update, order = _sent(LocalTraining(ours, epochs=2, batch_size=4), model, images, labels)
    batches = [step.indices for step in order.steps]
    assert_sent(update, model, train(model, images, labels, batches, theirs, F.cross_entropy))
    assert not update.tensors["spare.weight"].any()
    assert update.tensors["fc.weight"].any()


@pytest.mark.parametrize("name", ["momentum", "adamw"])
def test_tied_parameters_are_sent_once(name):
    ours, theirs = OPTIMIZERS[name]
    with seeded(0):
        model = WithTied().double()  # Adam blows up what float32 rounds
    images, labels = batch(dtype=torch.float64)
    update, order = _sent(LocalTraining(ours, epochs=2, batch_size=4), model, images, labels)
    batches = [step.indices for step in order.steps]
    assert_sent(update, model, train(model, images, labels, batches, theirs, F.cross_entropy))
    assert "second.weight" not in update.tensors


@pytest.mark.parametrize("batch_size", [None, 2])
def test_the_sum_of_gradients_is_that_of_a_plain_loop_and_of_its_former_name_to_the_bit(batch_size):
    model, (images, labels) = client_net().eval(), batch()
    procedure = LocalTraining(
        ClientSGD(0.1),
        steps=5,
        batch_size=batch_size,
        shuffle=False,
        sends="gradient_sum",
        mode="eval",
        send_buffers=False,
    )
    update, _ = _sent(procedure, model, images, labels)
    trained = copy.deepcopy(model)
    expected = [torch.zeros_like(parameter) for parameter in trained.parameters()]
    size = batch_size or len(images)
    for step in range(5):
        batch_of = slice(step * size % len(images), step * size % len(images) + size)
        loss = F.cross_entropy(trained(images[batch_of]), labels[batch_of])
        gradients = torch.autograd.grad(loss, list(trained.parameters()))
        for total, parameter, gradient in zip(
            expected, trained.parameters(), gradients, strict=True
        ):
            total += gradient
            parameter.data -= 0.1 * gradient
    former = LocalSGDUpdate(steps=5, learning_rate=0.1, batch_size=batch_size)
    assert update.kind == "gradient"
    for found, theirs, named in zip(
        update.tensors.values(), expected, former(model, images, labels), strict=True
    ):
        assert torch.equal(found, theirs)
        assert torch.equal(found, named)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LocalTraining(epochs=0), "epochs of the local training is 0"),
        (lambda: LocalTraining(steps=-1), "steps of the local training is -1"),
        (lambda: LocalTraining(steps=1, epochs=1), "leave one out"),
        (lambda: LocalTraining(batch_size=0), "batch_size"),
        (lambda: LocalTraining(mode="training"), "mode of the procedure"),
        (lambda: LocalTraining(label_smoothing=1.5), "label_smoothing is 1.5"),
        (lambda: LocalTraining(loss=nn.MSELoss(), label_smoothing=0.1), "leave one of them out"),
        (lambda: ClientSGD(0.0), "learning_rate of the client's SGD is 0.0"),
        (lambda: ClientSGD(nesterov=True), "nesterov"),
        (lambda: ClientAdam(betas=(0.9, 1.0)), "betas"),
        (lambda: StepwiseRate(0), "every of the stepwise rate is 0"),
        (lambda: StepwiseRate(1, per="batch"), "per of the schedule"),
        (lambda: ListedRates([]), "empty"),
    ],
)
def test_bad_settings_are_refused(make, words):
    with pytest.raises(UserError, match=words) as caught:
        make()
    assert len(caught.value.problems) == 1


def test_what_a_model_cannot_follow_is_said_in_a_sentence():
    class OneByOne(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(192, 10), nn.BatchNorm1d(10))

        def forward(self, images):
            return self.body(images)

    shape, model = (3, 8, 8), OneByOne()
    alone = r"cannot normalise a batch of 1: layer body.2 sees one value per channel"
    for procedure, count, words in [
        (LocalTraining(batch_size=1), 4, alone),
        (LocalTraining(batch_size=4), 9, alone),
        (LocalTraining(), 1, alone),
        (LocalTraining(batch_size=8, drop_last=True), 4, "no batch is left"),
        (LocalTraining(epochs=3, schedule=ListedRates([0.1])), 4, "has 1 learning rates, but .* 3"),
        (LocalTraining(epochs=9, schedule=CosineRate(over=4)), 4, "has 5 learning rates"),
        (LocalTraining(), 0, "has 0 images"),
        (
            LocalTraining(epochs=2, schedule=TorchRates(lambda o: OneCycleLR(o, 1, 5))),
            4,
            "changes the momentum",
        ),
    ]:
        (problem,) = procedure.problems(model, shape, count)
        assert re.search(words, problem), problem
    for procedure, count in [
        (LocalTraining(batch_size=1, mode="frozen"), 4),
        (LocalTraining(batch_size=1, mode="eval"), 4),
        (LocalTraining(batch_size=4, drop_last=True), 9),
        (LocalTraining(batch_size=4, steps=2), 9),
        (LocalTraining(epochs=5, schedule=CosineRate(over=4)), 4),
    ]:
        assert procedure.problems(model, shape, count) == []
    # One image has many values per channel before the last layers.
    assert LocalTraining(batch_size=1).problems(client_net(), shape, 4) == []
    (problem,) = LocalTraining().problems(client_net(), (3, 5, 7), 4)
    assert "does not take images of 3 x 5 x 7" in problem
    (problem,) = LocalTraining().problems(OneByOne().requires_grad_(False), shape, 4)
    assert "nothing to train" in problem
