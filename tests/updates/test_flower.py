"""Against Flower's own package, with the training of its PyTorch quickstart."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

pytest.importorskip("flwr")

from flwr.app import (
    ArrayRecord,
    ConfigRecord,
    Context,
    Error,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import LocalDpMod
from flwr.serverapp.strategy import FedAvg
from flwr.supercore.task_identity import TaskIdentity

from ggl_lightning.errors import UserError
from ggl_lightning.updates import fit_to_model, read_recording, restore
from ggl_lightning.updates.flower import RecordingMod, RecordingStrategy
from tests.updates.audited import audited
from tests.updates.toys import states

IMAGES, BATCH = 12, 5  # the last batch of an epoch is smaller


@pytest.fixture(autouse=True)
def this_process_is_flowers(monkeypatch):
    """Messages are made as within a run of Flower, but without its processes and network."""
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


class QuickstartNet(nn.Module):
    """The quickstart's network; `norm` puts batch-norm into it."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.norm = nn.BatchNorm2d(6) if norm else nn.Identity()
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(torch.relu(self.norm(self.conv1(x))))
        x = self.pool(torch.relu(self.conv2(x)))
        x = torch.relu(self.fc1(x.flatten(1)))
        return self.fc3(torch.relu(self.fc2(x)))


def quickstart_net(norm: bool) -> QuickstartNet:
    torch.manual_seed(0)
    return QuickstartNet(norm)


def quickstart_training(model: nn.Module, epochs: int, learning_rate: float) -> None:
    """As the quickstart trains: train mode, SGD with momentum 0.9, shuffled batches."""
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(IMAGES, 3, 32, 32, generator=generator) * 2 - 1
    labels = torch.arange(IMAGES) % 10
    loader = DataLoader(
        TensorDataset(images, labels),
        BATCH,
        shuffle=True,
        generator=torch.Generator().manual_seed(4),
    )
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=0.9)
    model.train()
    for _ in range(epochs):
        for batch, targets in loader:
            optimizer.zero_grad()
            criterion(model(batch), targets).backward()
            optimizer.step()


def client_app(norm: bool, mods: list, **settings: bool) -> ClientApp:
    """A client that answers as the quickstart's does."""
    app = ClientApp(mods=mods)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        model = QuickstartNet(norm)
        model.load_state_dict(message.content["arrays"].to_torch_state_dict(**settings))
        quickstart_training(
            model, context.run_config["local-epochs"], message.content["config"]["lr"]
        )
        metrics = MetricRecord({"train_loss": 1.0, "num-examples": IMAGES})
        content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
        return Message(content, reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        return Message(RecordDict({"metrics": MetricRecord({"num-examples": 1})}), reply_to=message)

    return app


def asked_to_train(model: nn.Module, kind: str = "train", node: int = 7) -> Message:
    config = ConfigRecord({"lr": 0.05, "server-round": 2})
    content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "config": config})
    return Message(content, dst_node_id=node, message_type=kind)


def context(epochs: int = 2) -> Context:
    return Context(
        run_id=1,
        node_id=7,
        node_config={"partition-id": 3, "num-partitions": 10},
        state=RecordDict(),
        run_config={"local-epochs": epochs},
    )


def trained(norm: bool, epochs: int = 2) -> tuple[dict, dict]:
    """The state before and after the same training, without Flower."""
    model = quickstart_net(norm)
    before = states(model)
    quickstart_training(model, epochs, 0.05)
    return before, states(model)


def the_file(folder):
    (file,) = folder.iterdir()
    return file


@pytest.mark.parametrize("with_model", [True, False])
@pytest.mark.parametrize("norm", [False, True])
def test_what_a_client_app_sends_is_recorded_exactly(tmp_path, norm, with_model):
    folder = tmp_path / "recordings"
    model = quickstart_net(norm)
    mod = RecordingMod(folder, QuickstartNet(norm) if with_model else None)
    reply = client_app(norm, [mod])(asked_to_train(model), context())
    before, after = trained(norm)
    assert the_file(folder).name == "round-2-client-3.safetensors"
    recording = read_recording(the_file(folder))
    record = recording.record
    # It is the message that was recorded, and the message that would have been sent without.
    sent = reply.content["arrays"].to_torch_state_dict()
    assert all(torch.equal(sent[name], after[name]) for name in after)
    assert list(record.tensors) == [name for name, _ in model.named_parameters()]
    for name, tensor in record.tensors.items():
        assert torch.equal(tensor, after[name] - before[name])
        assert torch.equal(recording.weights[name], before[name])
    buffers = {name for name, _ in model.named_buffers()}
    assert set(record.buffers) == set(recording.buffers) == buffers
    for name in buffers:
        assert torch.equal(record.buffers[name], after[name])
        assert torch.equal(recording.buffers[name], before[name])
    assert record.kind == "difference"
    assert (record.count, record.learning_rate, record.steps) == (IMAGES, 0.05, 6)
    assert record.mode == ("train" if norm else None)
    assert record.metadata["framework"] == "flower"
    assert record.metadata["round"] == "2"
    assert record.metadata["optimizer"] == "SGD"
    assert '"momentum": 0.9' in record.metadata["optimizer_settings"]


def test_a_recording_restores_the_client_model_as_it_was(tmp_path):
    mod = RecordingMod(tmp_path)
    client_app(True, [mod])(asked_to_train(quickstart_net(True)), context())
    other = QuickstartNet(True)
    restore(read_recording(the_file(tmp_path)), other)
    before, _ = trained(True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in states(other).items())


def test_a_client_that_uses_its_message_up_is_recorded_too(tmp_path):
    mod = RecordingMod(tmp_path)
    app = client_app(True, [mod], keep_input=False)
    app(asked_to_train(quickstart_net(True)), context())
    before, after = trained(True)
    recording = read_recording(the_file(tmp_path))
    for name, tensor in recording.record.tensors.items():
        assert torch.equal(tensor, after[name] - before[name])


@pytest.mark.parametrize("norm", [False, True])
def test_a_recorded_message_is_audited(tmp_path, norm):
    mod = RecordingMod(tmp_path / "recordings")
    client_app(norm, [mod])(asked_to_train(quickstart_net(norm)), context())
    file = str(the_file(tmp_path / "recordings"))
    client = f"{__name__}.{'NormalisedNet' if norm else 'QuickstartNet'}"
    (row,) = audited(file, client, "ggl_lightning.priors.WGANGPPrior", tmp_path / "runs")
    assert (row["status"], row["record"], row["images"]) == ("done", "round-2-client-3", IMAGES)
    assert len(row["inferred_labels"]) == IMAGES
    known = row["details"]["record"]
    assert (known["kind"], known["steps"], known["mode"]) == (
        "difference",
        6,
        "train" if norm else None,
    )
    assert row["details"]["evaluation"]["mode"] == ("train" if norm else "eval")


class NormalisedNet(QuickstartNet):
    def __init__(self) -> None:
        super().__init__(norm=True)


class ListClient(NumPyClient):
    """The older kind of client: a list of arrays, without names."""

    def __init__(self, parameters_only: bool) -> None:
        self.parameters_only = parameters_only

    def fit(self, parameters, config):
        model = quickstart_net(True)
        tensors = model.parameters() if self.parameters_only else model.state_dict().values()
        with torch.no_grad():
            for tensor, array in zip(tensors, parameters, strict=True):
                tensor.copy_(torch.from_numpy(np.asarray(array)))
        quickstart_training(model, 1, 0.05)
        return arrays_of(model, self.parameters_only), IMAGES, {}


def arrays_of(model: nn.Module, parameters_only: bool) -> list[np.ndarray]:
    tensors = model.parameters() if parameters_only else model.state_dict().values()
    return [tensor.detach().numpy().copy() for tensor in tensors]


def fit_message(model: nn.Module, parameters_only: bool) -> Message:
    """As Flower's older server asks for training; arrays have the keys 0, 1, ..."""
    content = RecordDict(
        {
            "fitins.parameters": ArrayRecord(arrays_of(model, parameters_only)),
            "fitins.config": ConfigRecord({"server_round": 1}),
        }
    )
    return Message(content, dst_node_id=7, message_type="train")


@pytest.mark.parametrize("parameters_only", [False, True])
def test_lists_of_arrays_get_the_models_names(tmp_path, parameters_only):
    model = quickstart_net(True)
    app = ClientApp(
        client_fn=lambda _context: ListClient(parameters_only).to_client(),
        mods=[RecordingMod(tmp_path, QuickstartNet(True))],
    )
    app(fit_message(model, parameters_only), context())
    before, after = trained(True, epochs=1)
    recording = read_recording(the_file(tmp_path))
    assert list(recording.record.tensors) == [name for name, _ in model.named_parameters()]
    for name, tensor in recording.record.tensors.items():
        assert torch.equal(tensor, after[name] - before[name])
    buffers = set() if parameters_only else {name for name, _ in model.named_buffers()}
    assert set(recording.record.buffers) == buffers
    assert recording.record.count == IMAGES
    assert recording.record.steps == 3


def test_lists_of_arrays_need_a_model(tmp_path):
    app = ClientApp(
        client_fn=lambda _context: ListClient(False).to_client(), mods=[RecordingMod(tmp_path)]
    )
    with pytest.raises(UserError, match="without names: give the recorder the client model"):
        app(fit_message(quickstart_net(True), False), context())


def test_another_model_is_refused_before_the_client_trains(tmp_path):
    def never(message, context):
        raise AssertionError("the client was called")

    mod = RecordingMod(tmp_path, QuickstartNet(False))
    with pytest.raises(UserError, match=r"lacks: norm\.weight"):
        mod(asked_to_train(quickstart_net(True)), context(), never)
    assert list(tmp_path.iterdir()) == []


def test_evaluation_and_failures_are_not_recorded(tmp_path):
    mod = RecordingMod(tmp_path)
    client_app(False, [mod])(asked_to_train(quickstart_net(False), "evaluate"), context())
    mod(
        asked_to_train(quickstart_net(False)),
        context(),
        lambda message, _context: Message(Error(0, "out of memory"), reply_to=message),
    )
    assert list(tmp_path.iterdir()) == []


def test_the_first_mod_records_what_leaves_and_a_later_one_what_was_trained(tmp_path):
    noise = LocalDpMod(clipping_norm=0.5, sensitivity=0.01, epsilon=1.0, delta=1e-5)
    mods = [RecordingMod(tmp_path / "sent"), noise, RecordingMod(tmp_path / "trained")]
    app = client_app(False, mods)
    reply = app(asked_to_train(quickstart_net(False)), context())
    before, after = trained(False)
    sent = read_recording(the_file(tmp_path / "sent")).record.tensors
    plain = read_recording(the_file(tmp_path / "trained")).record.tensors
    left = reply.content["arrays"].to_torch_state_dict()
    for name in before:
        assert torch.equal(sent[name], left[name] - before[name])
        assert torch.equal(plain[name], after[name] - before[name])
        assert not torch.equal(sent[name], plain[name])


def test_several_rounds_are_several_files(tmp_path):
    app = client_app(False, [RecordingMod(tmp_path)])
    for _ in range(2):
        app(asked_to_train(quickstart_net(False)), context())
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "round-2-client-3-2.safetensors",
        "round-2-client-3.safetensors",
    ]


class Grid:
    """A server's connection to two clients, in this process."""

    def __init__(self, app: ClientApp) -> None:
        self.app = app

    def get_node_ids(self):
        return [1, 2]

    def send_and_receive(self, messages, *, timeout=None):
        return [self.app(copy.deepcopy(message), context(epochs=1)) for message in messages]


def test_the_server_records_what_it_receives_and_learns_as_without(tmp_path):
    results = []
    for strategy in (FedAvg(), RecordingStrategy(FedAvg(), tmp_path)):
        initial = ArrayRecord(quickstart_net(True).state_dict())
        config = ConfigRecord({"lr": 0.05})
        started = strategy.start(Grid(client_app(True, [])), initial, 2, train_config=config)
        results.append(started.arrays.to_torch_state_dict())
    assert all(torch.equal(tensor, results[1][name]) for name, tensor in results[0].items())
    files = sorted(file.name for file in tmp_path.iterdir())
    assert files == [
        f"round-{number}-client-{node}.safetensors" for number in (1, 2) for node in (1, 2)
    ]
    first = read_recording(tmp_path / files[0])
    before, after = trained(True, epochs=1)
    fit_to_model(first, quickstart_net(True))
    for name, tensor in first.record.tensors.items():
        assert torch.equal(tensor, after[name] - before[name])
    # A server does not see the optimiser; batch-norm's counters tell the mode.
    assert (first.record.steps, first.record.learning_rate) == (None, 0.05)
    assert (first.record.mode, first.record.count) == ("train", IMAGES)
    # The second round starts from what the first one's average was.
    second = read_recording(tmp_path / files[2])
    assert second.weights_hash != first.weights_hash
