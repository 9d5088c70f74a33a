"""Clients that train in training mode with momentum, shuffling and sent buffers, under audit."""

import copy
import json

import pytest
import torch
import yaml
from torch import nn
from torch.nn import functional as F

from ggl_lightning.attacks import GenerativeGradientLeakage, Progress, Target
from ggl_lightning.attacks.labels.impact import BY_IMPACT
from ggl_lightning.attacks.labels.instance_wise import BY_EQUATIONS
from ggl_lightning.attacks.matching.one_by_one import OneByOneDistances
from ggl_lightning.attacks.searches import NevergradSearch
from ggl_lightning.audit.plan.case import Case, CaseSpec
from ggl_lightning.audit.run.case_runner import CaseRunner
from ggl_lightning.audit.run.received_update import client_generator
from ggl_lightning.clients import GradientUpdate, find_classifier_layer
from ggl_lightning.clients.procedures import (
    ClientSGD,
    LocalTraining,
    PlainGradient,
    PopulationUpdates,
)
from ggl_lightning.defenses import Clipping, NoDefense
from ggl_lightning.defenses.clipping import update_norm
from ggl_lightning.seeding import seeded
from tests.audit.conftest import tiny_settings
from tests.tiny import TinyClient, TinyImages, TinyPrior

PROCEDURES = "ggl_lightning.clients.procedures"
TRAINING = {
    "class_path": f"{PROCEDURES}.LocalTraining",
    "init_args": {
        "optimizer": {
            "class_path": f"{PROCEDURES}.ClientSGD",
            "init_args": {"learning_rate": 0.05, "momentum": 0.9},
        },
        "epochs": 2,
        "batch_size": 2,
    },
}


class Runner:
    """Runs cases of a tiny client, without scores, and keeps what attacks were given."""

    def __init__(self, procedure, monkeypatch, count=4):
        with seeded(0):
            self.model = TinyClient().eval()
        images, labels = TinyImages(count).dataset("test").tensors
        self.images, self.labels = images, labels
        self.procedure = procedure
        self.received = []
        attack = GenerativeGradientLeakage.run

        def run(leakage, received, *arguments):
            self.received.append(received)
            return attack(leakage, received, *arguments)

        monkeypatch.setattr(GenerativeGradientLeakage, "run", run)

    def __call__(self, role="attack", defense=None, seed=5, **settings):
        settings = {"search": NevergradSearch(population=4), "budget": 2, **settings}
        attack = GenerativeGradientLeakage(**settings)
        count = len(self.images)
        spec = CaseSpec(tuple(range(count)), "d", "a", seed, role)
        case = Case(spec, self.images, self.labels, defense or NoDefense(), attack)
        classifier = find_classifier_layer(self.model, self.images)
        target = Target(self.model, classifier, TinyPrior())
        runner = CaseRunner(target, self.procedure, NoScores(), None, {})
        outcome = runner.run(case, "key", Progress())
        return outcome.result, self.received[-1]


class NoScores:
    def score(self, reconstructions, originals, indices, rank=None):
        return {"missing_metrics": {}}

    def random_psnr(self, originals, labels, seed):
        return 0.0

    def score_random(self, originals, labels, indices, seed):
        raise AssertionError


def plain_loop(model, images, labels, batches, rate=0.05, momentum=0.9):
    """What the client does, as it is usually written."""
    trained = copy.deepcopy(model).train()
    optimizer = torch.optim.SGD(trained.parameters(), lr=rate, momentum=momentum)
    for batch in batches:
        optimizer.zero_grad()
        F.cross_entropy(trained(images[batch]), labels[batch]).backward()
        optimizer.step()
    return trained


def test_what_is_sent_is_what_a_plain_training_loop_changes(monkeypatch):
    training = LocalTraining(ClientSGD(0.05, momentum=0.9), epochs=2, batch_size=2)
    run = Runner(training, monkeypatch)
    result, received = run()
    order = training.order(4, client_generator(5))
    batches = [step.indices for step in order.steps]
    assert sorted(torch.cat(batches[:2]).tolist()) == [0, 1, 2, 3]
    trained = plain_loop(run.model, run.images, run.labels, batches)
    record = received.record
    assert (record.kind, record.mode, record.count, record.steps) == ("difference", "train", 4, 4)
    for (name, after), before in zip(
        trained.named_parameters(), run.model.parameters(), strict=True
    ):
        torch.testing.assert_close(record.tensors[name], after - before, rtol=0, atol=1e-6)
    for name, after in trained.named_buffers():
        torch.testing.assert_close(record.buffers[name], after, rtol=0, atol=1e-6)
    evaluation = result["details"]["evaluation"]
    assert evaluation["mode"] == "train"
    assert evaluation["way"] == "vmapped over candidates"
    assert evaluation["buffers"]
    assert result["details"]["label_inference"] in (BY_IMPACT, BY_EQUATIONS)


class Watched(LocalTraining):
    """Remembers the orders that were drawn from it and all its copies."""

    drawn: list = []  # noqa: RUF012 - shared on purpose

    def order(self, count, generator):
        order = super().order(count, generator)
        self.drawn.append((generator.initial_seed(), order))
        return order


@pytest.mark.parametrize("orders", [1, 3])
def test_the_clients_order_never_reaches_the_attacker(orders, monkeypatch):
    monkeypatch.setattr(Watched, "drawn", [])
    tried = []
    call = PopulationUpdates.__call__

    def watched_call(self, images, labels, order):
        tried.append(order)
        return call(self, images, labels, order)

    monkeypatch.setattr(PopulationUpdates, "__call__", watched_call)
    run = Runner(Watched(ClientSGD(0.05), batch_size=1), monkeypatch, count=8)
    result, received = run(orders=orders)
    (client_seed, sentinel), *attackers = Watched.drawn
    assert client_seed == client_generator(5).initial_seed()
    assert len(attackers) == orders == result["details"]["evaluation"]["orders"]
    assert all(seed != client_seed for seed, _ in attackers)
    assert {id(order) for order in tried} == {id(order) for _, order in attackers}
    permutations = [torch.cat([step.indices for step in order.steps]) for _, order in attackers]
    client = torch.cat([step.indices for step in sentinel.steps])
    assert not any(torch.equal(client, each) for each in permutations)
    assert all(seed != sentinel.seed for seed in (order.seed for _, order in attackers))
    assert received.procedure is not run.procedure
    assert sentinel not in vars(received).values()
    # The attacker draws the same orders whatever the client did.
    assert [seed for seed, _ in attackers] == [attackers[0][0]] * orders


def test_one_order_is_tried_where_all_are_the_same(monkeypatch):
    run = Runner(LocalTraining(ClientSGD(0.05), epochs=2), monkeypatch)
    result, _ = run(orders=4)
    assert result["details"]["evaluation"]["orders"] == 1


def test_a_null_of_noise_is_given_no_buffers_of_the_client(monkeypatch):
    run = Runner(LocalTraining(ClientSGD(0.05)), monkeypatch)
    result, received = run("null_noise")
    assert received.record.buffers == {}
    assert not result["details"]["evaluation"]["buffers"]


def test_buffers_are_compared_unless_their_weight_is_zero_or_they_say_nothing(monkeypatch):
    for settings, procedure, compared in (
        ({}, LocalTraining(ClientSGD(0.05)), True),
        ({"buffer_weight": 0.0}, LocalTraining(ClientSGD(0.05)), False),
        ({}, LocalTraining(ClientSGD(0.05), send_buffers=False), False),
        ({}, LocalTraining(ClientSGD(0.05), mode="frozen"), False),
        ({}, PlainGradient(send_buffers=True), False),
    ):
        result, _ = Runner(procedure, monkeypatch)(**settings)
        assert result["details"]["evaluation"]["buffers"] == compared


def test_sent_buffers_add_their_weight_to_the_objective(monkeypatch):
    """The same first candidates: the more the statistics weigh, the higher is the lowest loss."""
    losses = []
    for weight in (0.0, 1.0, 3.0):
        run = Runner(LocalTraining(ClientSGD(0.05)), monkeypatch)
        result, _ = run(buffer_weight=weight, budget=1, kl_weight=0.0)
        losses.append(result["loss"])
    assert losses[0] < losses[1] < losses[2]


def test_clipping_acts_on_the_difference_as_it_is_sent(monkeypatch):
    _, received = Runner(LocalTraining(ClientSGD(0.05)), monkeypatch)(defense=Clipping(0.001))
    assert update_norm(received.update).item() == pytest.approx(0.001, rel=1e-2)


def test_the_attacker_may_believe_in_another_procedure(monkeypatch):
    client = LocalTraining(ClientSGD(0.05, momentum=0.9), batch_size=2)
    belief = LocalTraining(ClientSGD(0.05), mode="eval", send_buffers=False)
    result, received = Runner(client, monkeypatch)(believes=belief)
    assert received.procedure is belief
    assert received.record.mode == "train"
    assert result["details"]["evaluation"]["mode"] == "eval"
    assert result["details"]["evaluation"]["orders"] == 1


def test_a_tiny_attack_on_a_realistic_client_beats_its_nulls(audit, tiny_config, tmp_path):
    config = tiny_settings(tmp_path / "runs")
    config["model"]["procedure"] = copy.deepcopy(TRAINING)
    config["model"]["procedure"]["init_args"] |= {"epochs": 1, "batch_size": 1}
    config["data"]["defenses"].pop("noise0.1")
    config["data"] |= {"client_batch": 2, "controls": ["null_noise"]}
    attack = config["data"]["attacks"]["cma"]["init_args"]
    attack["budget"] = 50
    attack["search"] = {
        "class_path": "ggl_lightning.attacks.searches.AdamSearch",
        "init_args": {"restarts": 4},
    }
    tiny_config.write_text(yaml.safe_dump(config))
    assert audit() == 0
    cases = json.loads((tmp_path / "runs/tiny/summary.json").read_text())
    psnr = {case["role"]: case["psnr"] for case in cases}
    assert psnr["attack"] > psnr["null_noise"] + 5
    found = next(case for case in cases if case["role"] == "attack")
    assert found["psnr"] > found["psnr_random_mean"] + 5
    assert found["label_correct"]


class OneValue(nn.Sequential):
    """Batch-norm sees one value per channel of an image."""

    def __init__(self):
        super().__init__(
            nn.Flatten(), nn.Linear(192, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)
        )


class AlwaysDrops(TinyClient):
    """Dropout that stays on in eval mode."""

    def forward(self, images):
        return super().forward(F.dropout(images, 0.5, training=True))


class NoTraining(TinyClient):
    """It can run in eval mode only."""

    def forward(self, images):
        if self.training:
            raise RuntimeError("not in this mode")
        return super().forward(images)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {
                "client_model": {"class_path": f"{__name__}.OneValue"},
                "procedure": {
                    "class_path": f"{PROCEDURES}.PlainGradient",
                    "init_args": {"mode": "train"},
                },
            },
            "In training mode batch-norm cannot normalise a batch of 1",
        ),
        (
            {"client_model": {"class_path": f"{__name__}.AlwaysDrops"}},
            "AlwaysDrops returns other logits for the same images",
        ),
        (
            {"client_model": {"class_path": f"{__name__}.NoTraining"}, "procedure": TRAINING},
            "NoTraining cannot follow the procedure LocalTraining in mode 'train': RuntimeError",
        ),
        (
            {
                "procedure": TRAINING,
                "update_rule": {"class_path": "ggl_lightning.clients.GradientUpdate"},
            },
            "update_rule (GradientUpdate), which is the former name of the same setting",
        ),
    ],
)
def test_what_cannot_be_simulated_is_refused_in_one_line(
    audit, tiny_config, tmp_path, capsys, changes, words
):
    config = tiny_settings(tmp_path / "runs")
    config["model"] |= changes
    tiny_config.write_text(yaml.safe_dump(config))
    assert audit() == 2
    told = capsys.readouterr().err.rpartition("error: ")[2].strip()
    assert words in told
    assert "\n" not in told


def test_a_belief_of_another_kind_is_refused(audit, tiny_config, tmp_path, capsys):
    config = tiny_settings(tmp_path / "runs")
    config["data"]["attacks"]["cma"]["init_args"]["believes"] = copy.deepcopy(TRAINING)
    tiny_config.write_text(yaml.safe_dump(config))
    assert audit() == 2
    told = capsys.readouterr().err
    assert "believes in LocalTraining that sends a difference, but what is sent is a grad" in told


def test_plain_gradients_are_evaluated_in_closed_form_under_either_name(monkeypatch):
    ways = {}
    for procedure in (PlainGradient(), GradientUpdate(), PlainGradient(label_smoothing=0.1)):
        result, _ = Runner(procedure, monkeypatch)()
        ways[result["details"]["evaluation"]["way"]] = result["loss"]
    assert list(ways) == ["in closed form", "vmapped over candidates"]
    assert OneByOneDistances.description == "one by one"
