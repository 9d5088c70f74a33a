"""Whole trainings: what they learn, what they are paired in, and how they fail."""

import copy
import dataclasses
import inspect
import json

import numpy as np
import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from torch.utils.data import Dataset, TensorDataset

from ggl_lightning.audit.plan.keys import describe
from ggl_lightning.audit.results.utility_row import utility_row
from ggl_lightning.clients import GradientUpdate, LocalSGDUpdate
from ggl_lightning.defenses import (
    DPSGD,
    Clipping,
    Compose,
    Compression,
    NoDefense,
    Noise,
    Representation,
    Sign,
)
from ggl_lightning.errors import UserError
from ggl_lightning.federated import (
    DirichletPartition,
    FederatedTraining,
    IIDPartition,
    ServerAdam,
    ServerSGD,
)
from tests.federated.toy import SHORT, TEST, TRAIN, Broken, Onlooker, tiny_client


def outcome(result):
    return dataclasses.replace(result, seconds=0.0)


def test_an_undefended_model_learns_and_heavy_noise_prevents_it():
    training = FederatedTraining(
        rounds=40, clients=6, clients_per_round=4, server=ServerAdam(0.01), evaluate_every=15
    )
    undefended = training.run(tiny_client(), TRAIN, TEST, NoDefense())
    noisy = training.run(tiny_client(), TRAIN, TEST, Noise(30.0))
    assert undefended.accuracy > 0.95
    assert noisy.accuracy < undefended.accuracy - 0.2
    assert [number for number, _ in undefended.curve] == [0, 15, 30, 40]
    assert undefended.curve[-1][1] == undefended.accuracy
    assert undefended.curve[0] == noisy.curve[0]
    assert undefended.majority_share == 0.5
    assert (undefended.train_images, undefended.test_images) == (96, 100)


def test_runs_of_one_seed_differ_by_their_defenses_alone():
    training = FederatedTraining(**SHORT)
    onlookers = [Onlooker(NoDefense()), Onlooker(Noise(0.1)), Onlooker(Noise(0.2))]
    for onlooker in onlookers:
        training.run(tiny_client(), TRAIN, TEST, onlooker, seed=4)
    plain, noisy, noisier = (onlooker.seen for onlooker in onlookers)
    assert len(plain) == 3 * 3
    for a, b in zip(plain, noisy, strict=True):
        assert torch.equal(a["images"], b["images"])
        assert torch.equal(a["labels"], b["labels"])
        assert a["noise"] == b["noise"]
        assert a["eval"]
    # Before the first step of the server the weights are the same, and the noise is to scale.
    for a, b, c in zip(plain[:3], noisy[:3], noisier[:3], strict=True):
        for true, same, sent, louder in zip(
            a["sent"], b["update"], b["sent"], c["sent"], strict=True
        ):
            assert torch.equal(true, same)
            torch.testing.assert_close(2 * (sent - true), louder - true, rtol=1e-3, atol=1e-5)
    # Nobody's noise is another's.
    assert len({seen["noise"] for seen in plain}) == len(plain)


def test_another_seed_deals_and_chooses_otherwise():
    training = FederatedTraining(**SHORT)
    first, second = Onlooker(NoDefense()), Onlooker(NoDefense())
    training.run(tiny_client(), TRAIN, TEST, first, seed=0)
    training.run(tiny_client(), TRAIN, TEST, second, seed=1)
    assert not torch.equal(first.seen[0]["images"], second.seen[0]["images"])
    assert first.seen[0]["noise"] != second.seen[0]["noise"]


DEFENSES = [
    NoDefense(),
    Noise(0.1),
    Clipping(0.5),
    Compression(90),
    Representation(80),
    Sign(),
    DPSGD(0.7, noise_multiplier=0.1),
    Compose([DPSGD(noise_multiplier=0), Sign()]),
]


@pytest.mark.parametrize("defense", DEFENSES, ids=lambda defense: type(defense).__name__)
def test_one_seed_gives_one_result_and_leaves_no_trace(defense):
    model = tiny_client()
    state = copy.deepcopy(model.state_dict())
    images = TRAIN.tensors[0].clone()
    generators = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    with torch.no_grad():  # as under Trainer.test
        first = FederatedTraining(**SHORT).run(model, TRAIN, TEST, defense, seed=2)
        second = FederatedTraining(**SHORT).run(model, TRAIN, TEST, defense, seed=2)
    assert outcome(first) == outcome(second)
    assert first.error is None
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(images, TRAIN.tensors[0])
    assert torch.equal(generators[0], torch.get_rng_state())
    assert np.array_equal(generators[1], np.random.get_state()[1])  # noqa: NPY002


def test_clients_of_a_skewed_partition_train_too():
    training = FederatedTraining(
        **SHORT, partition=DirichletPartition(0.1), procedure=LocalSGDUpdate(3, 0.05)
    )
    result = training.run(tiny_client(), TRAIN, TEST, NoDefense())
    assert result.error is None
    assert 0 <= result.accuracy <= 1


class Counted(Dataset):
    def __init__(self, dataset):
        self.dataset = dataset
        self.reads = []

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        self.reads.append(index)
        image, label = self.dataset[index]
        return image, int(label)


def test_a_random_part_of_the_images_is_read_once_for_all_runs():
    train, test = Counted(TRAIN), Counted(TEST)
    training = FederatedTraining(**SHORT, train_images=40, test_images=70)
    for seed, defense in enumerate([NoDefense(), Sign()]):
        result = training.run(tiny_client(), train, test, defense, seed=seed)
        assert (result.train_images, result.test_images) == (40, 70)
    assert len(train.reads) == len(set(train.reads)) == 40
    assert len(test.reads) == len(set(test.reads)) == 70
    loaded = training.load(train, test)
    assert torch.equal(loaded.train.images, TRAIN.tensors[0][train.reads])
    assert torch.equal(loaded.train.labels, TRAIN.tensors[1][train.reads])
    other = Counted(TRAIN)
    FederatedTraining(train_images=40, seed=1).load(other, test)
    assert other.reads != train.reads


def test_all_images_of_a_smaller_dataset_are_used_in_order():
    loaded = FederatedTraining(train_images=1000, test_images=None).load(TRAIN, TEST)
    assert torch.equal(loaded.train.images, TRAIN.tensors[0])
    assert torch.equal(loaded.test.labels, TEST.tensors[1])
    assert set(loaded.tensors()) == {"train_images", "train_labels", "test_images", "test_labels"}


def test_a_training_that_diverges_fails_with_its_reason():
    training = FederatedTraining(**SHORT, server=ServerSGD(1e30))
    row = row_of(training, training.run(tiny_client(), TRAIN, TEST, NoDefense()), NoDefense())
    assert row["status"] == "failed"
    assert row["accuracy"] is None
    assert "diverged in round" in row["error"]
    json.dumps(row, allow_nan=False)


def test_updates_that_are_not_finite_fail_the_training_and_keep_the_curve():
    training = FederatedTraining(**{**SHORT, "evaluate_every": 1})
    result = training.run(tiny_client(), TRAIN, TEST, Broken(from_call=8))
    assert result.accuracy is None
    assert "average of the updates" in result.error
    assert "round 3 of 3" in result.error
    assert [number for number, _ in result.curve] == [0, 1, 2]


def row_of(training, result, defense):
    return utility_row(
        result,
        name="noise_seed0",
        key="abc",
        defense_name="noise",
        defense=defense,
        seed=0,
        defense_parameters=describe(defense),
        settings=describe(training),
    )


def test_the_row_of_a_finished_training():
    training = FederatedTraining(**SHORT)
    defense = DPSGD(noise_multiplier=2.0)
    row = row_of(training, training.run(tiny_client(), TRAIN, TEST, defense), defense)
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert row["status"] == "done"
    assert row["error"] is None
    assert row["accuracy_curve"][-1] == [3, row["accuracy"]]
    assert row["settings"]["clients_per_round"] == 3
    assert row["settings"]["server"]["class"].endswith("ServerAdam")
    assert row["settings"]["update_rule"]["class"].endswith("GradientUpdate")
    assert row["defense_guarantee"]["epsilon"] > 0
    agreed = "name key status error defense seed rounds clients accuracy accuracy_curve test_images"
    agreed += " majority_share seconds defense_parameters defense_guarantee settings"
    assert set(agreed.split()) <= set(row)


@pytest.mark.parametrize(
    "component",
    [FederatedTraining(), ServerSGD(), ServerAdam(), IIDPartition(), DirichletPartition()],
    ids=lambda component: type(component).__name__,
)
def test_public_attributes_are_the_parameters(component):
    parameters = set(inspect.signature(type(component)).parameters)
    former = {"update_rule"}  # a name of another parameter
    assert {name for name in vars(component) if not name.startswith("_")} == parameters - former


def test_loaded_images_are_no_parameter():
    training = FederatedTraining(**SHORT)
    before = describe(training)
    training.run(tiny_client(), TRAIN, TEST, NoDefense())
    assert describe(training) == before


IN_YAML = """
utility:
  class_path: ggl_lightning.federated.FederatedTraining
  init_args:
    rounds: 7
    images_per_client_update: null
    update_rule:
      class_path: ggl_lightning.clients.LocalSGDUpdate
      init_args: {steps: 4, learning_rate: 0.05}
    server:
      class_path: ggl_lightning.federated.ServerSGD
      init_args: {learning_rate: 0.05, momentum: 0}
    partition:
      class_path: ggl_lightning.federated.DirichletPartition
      init_args: {alpha: 0.3}
"""


def test_everything_can_be_chosen_in_yaml():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--utility", type=FederatedTraining | None)
    parsed = parser.parse_string(yaml.safe_dump(yaml.safe_load(IN_YAML)))
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes  # before 4.49
    training = instantiate(parsed).utility
    assert training.rounds == 7
    assert training.images_per_client_update is None
    assert (training.procedure.steps, training.server.momentum) == (4, 0)
    assert training.partition.alpha == 0.3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rounds": 0}, "rounds"),
        ({"clients": 0}, "clients"),
        ({"clients_per_round": 0}, "clients_per_round"),
        ({"clients": 3, "clients_per_round": 4}, "only 3 clients"),
        ({"images_per_client_update": 0}, "images_per_client_update"),
        ({"train_images": 0}, "train_images"),
        ({"test_images": -1}, "test_images"),
        ({"evaluate_every": 0}, "evaluate_every"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        FederatedTraining(**settings)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ServerSGD(learning_rate=0), "learning_rate"),
        (lambda: ServerSGD(momentum=1), "momentum"),
        (lambda: ServerAdam(learning_rate=float("nan")), "learning_rate"),
        (lambda: ServerAdam(beta1=-0.1), "beta1"),
        (lambda: ServerAdam(beta2=1.0), "beta2"),
    ],
)
def test_bad_settings_of_the_server_are_refused(build, message):
    with pytest.raises(UserError, match=message):
        build()


def test_data_that_cannot_be_trained_on_are_refused():
    def run(training=None, train=TRAIN, test=TEST, **arguments):
        training = training or FederatedTraining(**SHORT)
        training.run(tiny_client(), train, test, NoDefense(), **arguments)

    nothing = TensorDataset(torch.empty(0, 3, 8, 8), torch.empty(0, dtype=torch.long))
    many = TensorDataset(TEST.tensors[0], TEST.tensors[1] + 1)
    with pytest.raises(UserError, match="train split has no images"):
        run(train=nothing)
    with pytest.raises(UserError, match="test split has no images"):
        run(test=nothing)
    with pytest.raises(UserError, match="labels from 1 to 2, but the client model has 2 classes"):
        run(test=many)
    with pytest.raises(UserError, match="more than the 96 training images"):
        run(FederatedTraining(clients=97))
    with pytest.raises(UserError, match="seed"):
        run(seed=-1)


def test_dp_sgd_refuses_updates_of_several_local_steps():
    training = FederatedTraining(**SHORT, procedure=LocalSGDUpdate(5, 0.5))
    with pytest.raises(UserError, match="plain gradient"):
        training.run(tiny_client(), TRAIN, TEST, DPSGD())


def test_the_default_procedure_is_the_audits():
    assert isinstance(FederatedTraining().procedure, GradientUpdate)
